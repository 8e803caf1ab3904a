"""Progress of the phases of a long command, on stderr."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from .options import Session


class Phases:
    """Progress bars on a terminal, otherwise a line at the start of each phase."""

    def __init__(self, session: Session, bars: Progress | None) -> None:
        self._session = session
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._said: Counter[str] = Counter()

    def show(self, phase: str, done: int, total: int) -> None:
        """Progress of a phase; `total` 0: not known yet."""
        if self._bars is None:
            self._said[phase] += 1
            if self._said[phase] == 1:
                self._session.say(f"{phase} ...")
            return
        if phase not in self._tasks:
            for task in self._tasks.values():
                self._bars.update(task, visible=False)
            self._tasks[phase] = self._bars.add_task(phase, total=None)
        self._bars.update(self._tasks[phase], completed=done, total=total or None)


@contextmanager
def shown_phases(session: Session) -> Iterator[Phases]:
    """Shows phases while the block runs."""
    if not session.err.is_terminal:
        yield Phases(session, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=session.err, transient=True) as bars:
        yield Phases(session, bars)
