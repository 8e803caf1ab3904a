"""Where bytes lie in the object store."""


def asset_key(project_id: str, sha256: bytes) -> str:
    """Where the bytes of a verified image lie."""
    return f"{assets_folder(project_id)}{sha256.hex()}"


def assets_folder(project_id: str) -> str:
    """Below which the verified images of a project lie."""
    return f"projects/{project_id}/assets/"


def staging_key(project_id: str, sha256: bytes) -> str:
    """Where a client puts bytes that it says have this hash."""
    return f"{staging_folder(project_id)}{sha256.hex()}"


def staging_folder(project_id: str) -> str:
    """Below which the uploads of a project lie."""
    return f"staging/{project_id}/"
