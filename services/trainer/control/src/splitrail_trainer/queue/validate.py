"""Rules on what pods say that need no state; all broken fields are named at once."""

import re
from collections.abc import Mapping, Sequence

from splitrail_trainer.checks import MAXIMUM_ID, MAXIMUM_LABEL, MAXIMUM_LABELS, Checker
from splitrail_trainer.models.domain import ArtifactKind
from splitrail_trainer.queue.domain import UploadedFile

MAXIMUM_UPLOADS = 200
_MAXIMUM_MESSAGE = 16_384
_MAXIMUM_SIZE = 2**40
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def claim(worker: str, queue: str, check: Checker) -> None:
    """Raises INVALID_ARGUMENT, also for what `check` knows already."""
    check.text(worker, "worker", MAXIMUM_ID)
    check.queue(queue)
    check.done()


def uploads(names: Sequence[str]) -> list[str]:
    """File names."""
    check = Checker()
    check.require(0 < len(names) <= MAXIMUM_UPLOADS, "names", f"between 1 and {MAXIMUM_UPLOADS}, not {len(names)}")
    check.require(len(set(names)) == len(names), "names", "hold a name twice")
    for index, name in enumerate(names[:MAXIMUM_UPLOADS]):
        _file(check, name, f"names[{index}]")
    check.done()
    return list(names)


def _file(check: Checker, name: str, field: str) -> None:
    check.require(
        _FILE.fullmatch(name) is not None,
        field,
        "letters, digits, '.', '-', '_', not beginning with '.' or '-', at most 128",
    )


def uploaded_file(file: UploadedFile, check: Checker) -> None:
    """Raises INVALID_ARGUMENT, also for what `check` knows already."""
    _file(check, file.name, "name")
    check.require(
        0 < file.size_bytes <= _MAXIMUM_SIZE, "size_bytes", f"between 1 and {_MAXIMUM_SIZE}, not {file.size_bytes}"
    )
    check.require(_SHA256.fullmatch(file.sha256) is not None, "sha256", "64 lower-case hexadecimal digits")
    fits = file.epoch > 0 if file.kind is ArtifactKind.CHECKPOINT else file.epoch == 0
    check.require(fits, "epoch", f"at least 1 for a checkpoint, 0 for anything else, not {file.epoch}")
    check.done()


def failure_message(text: str) -> str:
    """Shortened and cleaned rather than refused: a failure must be reportable."""
    return text[-_MAXIMUM_MESSAGE:].replace("\0", "\ufffd")


def versions(values: Mapping[str, str]) -> dict[str, str]:
    """Names and versions of programs."""
    check = Checker()
    check.require(len(values) <= MAXIMUM_LABELS, "versions", f"at most {MAXIMUM_LABELS}, not {len(values)}")
    for key, value in values.items():
        check.text(key, "versions", MAXIMUM_ID)
        check.text(value, "versions", MAXIMUM_LABEL)
    check.done()
    return dict(values)
