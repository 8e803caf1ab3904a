"""What the stack knows of each process that it keeps running."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class NotReadyError(Exception):
    """A part does not answer as it should yet; the message says how."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process under supervisord."""

    name: str
    command: tuple[str, ...]
    directory: Path
    ready: Callable[[], None]
    """Returns when the part is healthy, else raises NotReadyError; bounded to a few seconds."""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    """The account it runs as; None: ours."""
    stop_signal: str = "TERM"
    stop_seconds: int = 15
    """How long it may take to stop before it is killed."""
