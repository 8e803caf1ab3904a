"""Settings of the split service, from the environment."""

from splitrail_common.settings import DatabaseSettings, ObjectStoreSettings


class Settings(DatabaseSettings, ObjectStoreSettings):
    """See splitrail_common.settings for the names of the variables."""

    import_workers: int = 2
    """Imports worked on at once."""
    import_threads: int = 4
    """Threads that fetch, hash and decode files; shared by all imports of this process."""
    import_lease_seconds: float = 30.0
    """How long after the death of a process another one takes over its imports."""
    import_prefixes: tuple[str, ...] = ("incoming/{project}/",)
    """Where images may lie that a CSV lists: prefixes of the platform's bucket, or `s3://bucket/prefix/` with the same
    endpoint and keys. `{project}` stands for the importing project's id; a prefix without it is open to every project.
    A JSON list.
    """
    array_cache_bytes: int = 256 * 1024 * 1024
    """Memory for columns of versions and split vectors, which never change once written."""
    asset_grace_seconds: float = 24 * 3600.0
    """How long images stay that an import verified and then refused: a second try need not upload them."""
