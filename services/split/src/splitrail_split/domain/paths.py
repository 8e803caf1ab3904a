"""Names of files from callers and archives: they are untrusted, and are checked before anything is done with them."""

import re
from posixpath import splitext

MAX_PATH_BYTES = 1024
MAX_SEGMENT_BYTES = 255

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


def name_problem(path: str) -> str | None:
    """Why a path may not name a file of any kind, or None."""
    segments = path.split("/")
    if not path:
        return "is empty"
    if len(path.encode()) > MAX_PATH_BYTES or any(len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments):
        return f"is too long: at most {MAX_PATH_BYTES} bytes, {MAX_SEGMENT_BYTES} between two '/'"
    if _CONTROL.search(path):
        return "holds a control character"
    if "\\" in path:
        return "holds a backslash: separate folders by '/'"
    if path.startswith("/") or _DRIVE.match(path):
        return "is absolute: give it relative to the source's folder"
    if any(segment in ("", ".", "..") for segment in segments):
        return "holds an empty, '.' or '..' segment"
    return None


def extension(path: str) -> str:
    """`.jpg` of `images/A.JPG`; empty without one."""
    return splitext(path)[1].lower()
