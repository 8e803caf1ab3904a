"""The read side: feeds, epochs, plots and log lines in Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from splitrail_common.access import Scope
from splitrail_common.database import Pool, Row, Tables
from splitrail_common.paging import Page

from ..domain import CommittedEvent, Feed, Plot, PlotKind

PAGE_ROWS = 256
PAGE_BYTES = 1024 * 1024
"""A page of events holds at most this much besides its first event, however large they are."""


@dataclass(frozen=True)
class Head:
    """A feed as it is now."""

    incarnation: str
    """Of all feeds: what their cursors count."""
    feed: Feed | None
    """Without watermarks; None when nothing was reported yet."""


@dataclass(frozen=True)
class EventPage:
    """A stretch of a feed, in the order of seq."""

    incarnation: str | None
    """In which these events are; None for an empty page."""
    events: list[CommittedEvent]


@dataclass(frozen=True)
class EpochNumbers:
    """One epoch of the effective timeline."""

    epoch: int
    epochs: int
    attempt: int
    seq: int
    raw: dict[str, float]
    fitness: float | None = None
    """None when it was not reported or is not finite."""


@dataclass(frozen=True)
class History:
    """A run's effective timeline."""

    feed: Feed
    epochs: list[EpochNumbers]
    final: CommittedEvent | None

    def summary(self) -> "Summary":
        """The same in a few numbers. Of epochs with equal fitness the later one is the best, as Ultralytics keeps it."""
        judged = [item for item in self.epochs if item.fitness is not None]
        best = max(judged, key=lambda item: (item.fitness or 0.0, item.epoch), default=None)
        last = self.epochs[-1] if self.epochs else None
        return Summary(self.feed.run_id, self.feed.state, self.feed.last_seq, self.feed.last_epoch, best, last)


@dataclass(frozen=True)
class Summary:
    """A run in a few numbers."""

    run_id: str
    state: int
    last_seq: int
    last_epoch: int
    best: EpochNumbers | None
    last: EpochNumbers | None


@dataclass(frozen=True)
class Watermark:
    """How far an origin's events are committed; zeros for a job that is not known."""

    number: int
    current_attempt: int
    last_epoch: int
    closed: bool
    project_id: str | None


class Store:
    """Reads; every method raises psycopg.OperationalError or psycopg_pool.PoolTimeout when the database does not
    answer."""

    def __init__(self, pool: Pool) -> None:
        self._tables = Tables(pool, __package__)

    async def head(self, run_id: str) -> Head:
        """The feed as it is now."""
        rows = await self._tables.rows("get_head", {"run_id": run_id})
        return _head(rows[0])

    async def watermark(self, run_id: str, origin: int) -> Watermark:
        """How far the events of `origin` are committed."""
        rows = await self._tables.rows("get_watermark", {"run_id": run_id, "origin": origin})
        return Watermark(**rows[0])

    async def events_after(self, run_id: str, after_seq: int) -> EventPage:
        """The next page of a feed."""
        rows = await self._tables.rows(
            "list_events", {"run_id": run_id, "after_seq": after_seq, "rows": PAGE_ROWS, "bytes": PAGE_BYTES}
        )
        incarnations = [row.pop("incarnation") for row in rows]
        return EventPage(incarnations[0] if incarnations else None, [CommittedEvent(**row) for row in rows])

    async def log_lines(self, run_id: str, after_seq: int, limit: int) -> Page[CommittedEvent]:
        """The next log lines: at most `limit`, fewer when they are long."""
        rows = await self._tables.rows(
            "list_log_lines", {"run_id": run_id, "after_seq": after_seq, "rows": limit + 1, "bytes": PAGE_BYTES}
        )
        found = rows[0]["page_rows"] if rows else 0
        lines = [
            CommittedEvent(**{key: value for key, value in row.items() if key != "page_rows"}) for row in rows[:limit]
        ]
        return Page(lines, more=found > len(lines))

    async def history(self, run_id: str) -> History | None:
        """All epochs in one consistent state; None when nothing was reported yet."""
        async with self._tables.snapshot() as connection:
            feed = _head((await self._tables.rows_in(connection, "get_head", {"run_id": run_id}))[0]).feed
            if feed is None:
                return None
            rows = await self._tables.rows_in(connection, "list_epochs", {"run_id": run_id})
            final = None
            if feed.final_seq is not None:
                found = await self._tables.one_in(connection, "get_event", {"run_id": run_id, "seq": feed.final_seq})
                final = CommittedEvent(**found) if found else None
        return History(feed, [_numbers(feed.metric_names, row) for row in rows], final)

    async def summaries(self, run_ids: Sequence[str], scope: Scope) -> list[Summary]:
        """Of those runs that have reported and lie in the scope, in no order."""
        rows = await self._tables.rows("list_summaries", {"run_ids": list(run_ids), "scope": scope.sql()})
        return [_summary(row) for row in rows]

    async def plots(self, run_id: str, after_name: str = "", limit: int | None = None) -> list[Plot]:
        """By name, those after `after_name`; at most `limit`, None: all."""
        return [
            _plot(row)
            for row in await self._tables.rows(
                "list_plots", {"run_id": run_id, "after_name": after_name, "limit": limit}
            )
        ]

    async def plot(self, run_id: str, name: str) -> Plot | None:
        """One plot."""
        rows = await self._tables.rows("get_plot", {"run_id": run_id, "name": name})
        return _plot(rows[0]) if rows else None


def _head(row: Row) -> Head:
    incarnation = row.pop("incarnation")
    return Head(incarnation, Feed(**row) if row["run_id"] else None)


def _plot(row: Row) -> Plot:
    return Plot(**{**row, "kind": PlotKind(row["kind"])})


def _numbers(names: Sequence[str], row: dict[str, Any]) -> EpochNumbers:
    # A row is as long as the dictionary was when it was written.
    raw = {name: value for name, value in zip(names, row["metric_values"], strict=False) if value is not None}
    return EpochNumbers(row["epoch"], row["epochs"], row["attempt"], row["seq"], raw, row["fitness"])


def _summary(row: dict[str, Any]) -> Summary:
    names = row["metric_names"]
    best, last = row["best_epoch"], row["last_epoch_seq"]
    return Summary(
        row["run_id"],
        row["state"],
        row["last_seq"],
        row["last_epoch"],
        best=None if best is None else _part(names, row, "best", best, row["best_seq"]),
        last=None if last is None else _part(names, row, "last", row["last_epoch"], last),
    )


def _part(names: Sequence[str], row: dict[str, Any], which: str, epoch: int, seq: int) -> EpochNumbers:
    values = {"epoch": epoch, "seq": seq, "fitness": None} | {
        key: row[f"{which}_{key}"] for key in ("epochs", "attempt", "metric_values")
    }
    return _numbers(names, values)
