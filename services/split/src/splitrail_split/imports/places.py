"""Which objects of which buckets a project may import."""

from collections.abc import Sequence
from typing import NamedTuple

from splitrail_split.domain.paths import name_problem
from splitrail_split.formats.images import is_image

_SCHEME = "s3://"
_PROJECT = "{project}"
_OWN = ("projects/", "staging/", "attempts/")


class Location(NamedTuple):
    """An object."""

    bucket: str
    key: str


class Places:
    """The prefixes below which images may lie; `{project}` in one stands for the project's id."""

    def __init__(self, prefixes: Sequence[str], own_bucket: str) -> None:
        """Raises ValueError for a prefix that would open what the platform keeps, or that could match half of a
        folder's name.
        """
        self._own_bucket = own_bucket
        self._prefixes = [self._location(prefix) for prefix in prefixes]
        for prefix, (bucket, key) in zip(prefixes, self._prefixes, strict=True):
            if not prefix.endswith("/") or _PROJECT in bucket:
                raise ValueError(f"the import prefix {prefix!r} must end in '/', and name a bucket without {_PROJECT}")
            if bucket == own_bucket and (not key or key.startswith(_OWN)):
                raise ValueError(
                    f"the import prefix {prefix!r} opens what the platform itself keeps in its bucket: {', '.join(_OWN)}"
                )

    def locate(self, project_id: str, name: str, path: str) -> tuple[Location, str]:
        """The object that a list names, and the path that its image gets: `path`, or what follows the prefix.

        Raises ValueError with why it may not be imported, worded to follow the object's name.
        """
        bucket, key = self._location(name)
        if (problem := name_problem(key)) is not None:  # a store may take `..` for the folder above
            raise ValueError(problem)
        inside = [
            prefix
            for of, raw in self._prefixes
            if of == bucket and key.startswith(prefix := raw.replace(_PROJECT, project_id))
        ]
        # Checked for the key itself too: a project's id can make of a prefix what the prefix alone does not show.
        if not inside or (bucket == self._own_bucket and key.startswith(_OWN)):
            allowed = ", ".join(self._shown(one, project_id) for one in self._prefixes) or "nothing"
            raise ValueError(f"does not lie where this project may import from: {allowed}")
        path = path or key[len(max(inside, key=len)) :]
        if (problem := name_problem(path)) is not None:
            raise ValueError(f"has a path that {problem}")
        if not is_image(path):
            raise ValueError(f"is to be {path!r}, which is not the name of an image file")
        return Location(bucket, key), path

    def _location(self, name: str) -> Location:
        if not name.startswith(_SCHEME):
            return Location(self._own_bucket, name)
        bucket, _, key = name.removeprefix(_SCHEME).partition("/")
        return Location(bucket, key)

    def _shown(self, prefix: Location, project_id: str) -> str:
        key = prefix.key.replace(_PROJECT, project_id)
        return key if prefix.bucket == self._own_bucket else f"{_SCHEME}{prefix.bucket}/{key}"
