"""Live display of a job on stderr: redrawn in place on a terminal, otherwise a line for each step."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from splitrail.metrics.v1 import metrics_pb2, metrics_service_pb2

from ..errors import SplitrailError
from ..text import human_seconds, plain
from .metrics import fraction
from .tables import STATE_STYLES, cells, table
from .view import View

_BAR_COLUMNS = 30
_OTHER_LINES = 8  # header, bars, column titles, note and spare lines


class Display:
    """Shows one job from the messages of its feed."""

    def __init__(self, view: View, console: Console) -> None:
        self.view = view
        self._console = console

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Redraws the terminal inside the block; afterwards prints the whole table of epochs."""
        if not self._console.is_terminal:
            yield
            return
        try:
            with Live(
                console=self._console,
                get_renderable=lambda: render(self.view, self._console.height - _OTHER_LINES),
                transient=True,
                refresh_per_second=5,
            ):
                yield
        finally:
            self._console.print(render(self.view, None))

    def message(self, message: metrics_service_pb2.WatchRunResponse) -> None:
        """Applies a message of a watch."""
        self.view.heard()
        if message.HasField("event"):
            self._line(self.view.apply(message.event))
        elif message.HasField("progress"):
            self.view.progress = message.progress

    def interrupted(self, error: SplitrailError, seconds: float) -> None:
        """Says that the connection was lost and when the next attempt is."""
        self._line(self.view.interrupted(error.message, seconds))

    def restarted(self, _: SplitrailError) -> None:
        """Says that the feed starts again."""
        self._line(self.view.restarted())

    def _line(self, line: str | None) -> None:
        if line and not self._console.is_terminal:
            self._console.print(plain(f"{self.view.title} {line}"), soft_wrap=True)


def render(view: View, rows: int | None) -> RenderableType:
    """The current view with the last `rows` epochs (None: all)."""
    parts: list[RenderableType] = [_header(view)]
    if view.state in ("queued", "running"):
        parts.append(_bars(view))
    if view.rows:
        parts.append(_epochs(view, rows))
    if view.note:
        parts.append(Text(plain(view.note), style="yellow"))
    return Group(*parts)


def _header(view: View) -> Text:
    header = Text.assemble((plain(view.title), "bold"), "  ", (view.state, STATE_STYLES.get(view.state, "")))
    if view.stage:
        header.append(f"  {view.stage}")
    if view.attempt:
        header.append(plain(f"  attempt {view.attempt} on {view.worker} ({view.device})"), style="dim")
    return header


def _bars(view: View) -> Table:
    grid = Table.grid(padding=(0, 1))
    progress = view.progress
    if view.epochs:
        remaining = view.remaining_seconds
        eta = f"ETA {human_seconds(remaining)}" if remaining is not None and view.epochs_done < view.epochs else ""
        bar = ProgressBar(total=view.epochs, completed=view.epochs_done, width=_BAR_COLUMNS)
        grid.add_row(Text("epochs"), bar, Text(f"{view.epochs_done}/{view.epochs}"), Text(eta, style="cyan"))
    if progress is not None and progress.batches:
        bar = ProgressBar(total=progress.batches, completed=progress.batch, width=_BAR_COLUMNS)
        shown = "  ".join(
            f"{plain(name.removeprefix('train/'))} {value:.3f}" for name, value in sorted(progress.losses.items())
        )
        title = f"epoch {progress.epoch}" if progress.epoch else "batches"
        grid.add_row(Text(title), bar, Text(f"{progress.batch}/{progress.batches}"), Text(shown, style="dim"))
    return grid


def _epochs(view: View, rows: int | None) -> Table:
    items = [view.rows[epoch] for epoch in sorted(view.rows)]
    newest = items[-1].metrics
    losses, headlines = view.names.losses(newest), view.names.headlines(newest)
    columns = [*losses, *(f"val {title}" for title in headlines), "seconds"]
    made = table("epoch", *columns, right=["epoch", *columns])
    best = view.best
    for row in items if rows is None else items[-max(rows, 1) :]:
        made.add_row(
            *cells(row.epoch, *_numbers(row, [*losses.values(), *headlines.values()])),
            style="bold" if row is best else "",
        )
    return made


def _numbers(row: metrics_pb2.EpochMetrics, keys: Sequence[str]) -> list[str]:
    seconds = row.metrics.get("epoch_seconds")
    return [*(fraction(row.metrics.get(key)) for key in keys), "–" if seconds is None else f"{seconds:.1f}"]
