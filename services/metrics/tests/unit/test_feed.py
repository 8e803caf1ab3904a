"""The rules of a feed against a simple model, on any sequence of messages."""

import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitrail.events.v1 import event_pb2 as payloads
from splitrail.internal.events.v1 import run_event_pb2 as events
from splitrail_metrics.domain import Feed, Verdict
from splitrail_metrics.ingest import convert
from splitrail_metrics.ingest.feed import Changes, SignedEvent, take
from splitrail_metrics.ingest.reports import PoisonError, check

RUN, NOW = str(uuid.UUID(int=7)), datetime(2030, 1, 1, tzinfo=UTC)


def event(attempt: int, number: int, project: str = "p", **payload: object) -> events.RunEvent:
    return events.RunEvent(job_id=RUN, attempt=attempt, number=number, project_id=project, **payload)  # type: ignore[arg-type]


def started() -> dict[str, object]:
    return {"attempt_started": payloads.AttemptStarted(worker="w")}


def epoch(number: int, **values: float) -> dict[str, object]:
    return {"epoch": events.EpochCompleted(epoch=number, epochs=9, values=values or {"fitness": 0.5})}


def apply(feed: Feed, changes: Changes, message: events.RunEvent, project: str = "p") -> Verdict:
    return take(feed, SignedEvent(convert.report(message.SerializeToString()), project, "s", b"d"), NOW, changes)


def state(which: payloads.JobState.ValueType) -> dict[str, object]:
    return {"state": payloads.StateChanged(state=which)}


def test_the_life_of_a_run() -> None:
    feed, changes = Feed(RUN), Changes()
    steps = [
        (event(0, 1, **state(payloads.JOB_STATE_QUEUED)), Verdict.COMMITTED),
        (event(1, 2, **epoch(1)), Verdict.AHEAD),
        (event(1, 1, **started()), Verdict.COMMITTED),
        (event(1, 2, **epoch(1, fitness=float("nan"), a=1.0)), Verdict.COMMITTED),
        (event(1, 2, **epoch(1)), Verdict.DUPLICATE),
        (event(1, 3, **epoch(3)), Verdict.QUARANTINED),
        (event(1, 4, **epoch(2, b=2.0)), Verdict.COMMITTED),
        (event(2, 1, **started()), Verdict.COMMITTED),
        (event(1, 5, **epoch(3)), Verdict.FENCED),
        (event(2, 2, rolled_back=payloads.RolledBack(epoch=1)), Verdict.COMMITTED),
        (event(2, 3, **epoch(2)), Verdict.COMMITTED),
        (event(2, 4, final_metrics=events.FinalMetrics(values={"x": 1.0})), Verdict.COMMITTED),
        (event(0, 2, **state(payloads.JOB_STATE_SUCCEEDED)), Verdict.COMMITTED),
        (event(2, 5, log=payloads.LogLine(text="late")), Verdict.CLOSED),
    ]
    assert [apply(feed, changes, message) for message, _ in steps] == [verdict for _, verdict in steps]
    assert [item.seq for item in changes.events] == list(range(1, 10))
    assert changes.events[1].kind == "attempt_started"
    assert [(row.epoch, row.superseded_by, row.fitness, row.metric_values) for row in changes.epochs] == [
        (1, None, None, [1.0, pytest.approx(float("nan"), nan_ok=True)]),
        (2, 6, None, [None, None, 2.0]),
        (2, None, 0.5, [None, 0.5, None]),
    ]
    assert feed.metric_names == ["a", "fitness", "b"]
    assert (feed.last_epoch, feed.closed, feed.final_seq) == (2, True, 8)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (event(1, 2, log=payloads.LogLine(text="x" * 5000)), "payload"),
        (event(1, 2), "payload"),
        (event(1, 2, project="q", log=payloads.LogLine(text="x")), "project"),
        (event(1, 2, **state(payloads.JOB_STATE_FAILED)), "origin"),
        (event(0, 1, log=payloads.LogLine(text="x")), "origin"),
        (event(0, 1, **state(payloads.JOB_STATE_UNSPECIFIED)), "payload"),
        (event(0, 1, **state(99)), "payload"),  # type: ignore[arg-type]
        (event(1, 2, **started()), "order"),
        (event(2, 1, **epoch(1)), "order"),
        (event(1, 2, **epoch(0)), "epoch"),
        (event(1, 2, **epoch(2**31 - 1)), "epoch"),
        (event(1, 2, **epoch(-1)), "epoch"),
        (event(1, 2, epoch=events.EpochCompleted(epoch=1, epochs=-1)), "payload"),
        (event(1, 2, rolled_back=payloads.RolledBack(epoch=5)), "epoch"),
        (event(1, 2, rolled_back=payloads.RolledBack(epoch=-1)), "epoch"),
        (event(1, 2, **epoch(1, **{"a\x00": 1.0})), "payload"),
        (event(1, 2, **epoch(1, **{f"k{index}": 1.0 for index in range(1001)})), "payload"),
    ],
)
def test_poison_is_quarantined_and_blocks_nothing(message: events.RunEvent, reason: str) -> None:
    feed, changes = Feed(RUN), Changes()
    apply(feed, changes, event(1, 1, **started()))
    assert apply(feed, changes, message) is Verdict.QUARANTINED
    assert changes.quarantined[0].reason == reason
    assert feed.watermarks[message.attempt] == message.number
    assert (feed.last_seq, feed.last_epoch) == (1, 0)


PLOT = {
    "name": "results.png", "title": "Results", "kind": payloads.PLOT_KIND_RESULTS, "key": f"attempts/p/{RUN}/1/results.png",
    "content_type": "image/png", "size_bytes": 10, "sha256": "0" * 64,
}  # fmt: skip


def test_a_plot_of_the_attempt_is_taken() -> None:
    check(convert.report(event(1, 2, plot=events.PlotStored(**PLOT)).SerializeToString()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"key": f"attempts/q/{RUN}/1/results.png"},
        {"key": f"attempts/p/{uuid.UUID(int=8)}/1/results.png"},
        {"key": f"attempts/p/{RUN}/../x/results.png"},
        {"key": f"attempts/p/{RUN}//results.png"},
        {"key": "projects/p/assets/00"},
        {"key": f"attempts/p/{RUN}/1/a\x00.png"},
        {"content_type": "image/svg+xml"},
        {"content_type": "text/html"},
        {"name": "../x.png"},
        {"name": ""},
        {"title": "a\x00b"},
        {"sha256": "xyz"},
        {"size_bytes": 2**40},
        {"size_bytes": -1},
    ],
)
def test_other_plots_are_poison(change: dict[str, object]) -> None:
    with pytest.raises(PoisonError):
        check(convert.report(event(1, 2, plot=events.PlotStored(**{**PLOT, **change})).SerializeToString()))  # type: ignore[arg-type]


kinds = st.sampled_from(["started", "next_epoch", "odd_epoch", "back", "log", "poison", "succeeded"])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2), kinds), max_size=60), st.data())
@settings(max_examples=300, deadline=None)
def test_any_sequence_keeps_the_invariants(script: list[tuple[int, int, str]], data: st.DataObject) -> None:
    """Whatever comes, in whatever order: seq without gaps, one number once, one effective row an epoch, none from a
    replaced attempt."""
    feed, changes, closed_at = Feed(RUN), Changes(), None
    for attempt, offset, kind in script:
        number = max(1, feed.watermarks.get(attempt, 0) + 1 + offset)
        payload = {
            "started": started(),
            "next_epoch": epoch(feed.last_epoch + 1),
            "odd_epoch": epoch(data.draw(st.integers(0, 6))),
            "back": {"rolled_back": payloads.RolledBack(epoch=data.draw(st.integers(0, feed.last_epoch + 1)))},
            "log": {"log": payloads.LogLine(text="x")},
            "poison": {},
            "succeeded": state(payloads.JOB_STATE_SUCCEEDED),
        }[kind]
        before = (feed.current_attempt, dict(feed.watermarks), feed.last_seq)
        verdict = apply(feed, changes, event(attempt, number, **payload))
        if verdict is Verdict.COMMITTED:
            assert not (attempt and attempt < before[0])
            assert number == before[1].get(attempt, 0) + 1
            assert closed_at is None
            if feed.closed:
                closed_at = feed.last_seq
        elif verdict is not Verdict.QUARANTINED:
            assert (feed.current_attempt, feed.watermarks, feed.last_seq) == before
    assert [item.seq for item in changes.events] == list(range(1, feed.last_seq + 1))
    identities = [(item.attempt, item.number) for item in changes.events]
    assert len(identities) == len(set(identities))
    effective = [row.epoch for row in changes.epochs if row.superseded_by is None]
    assert effective == list(range(1, feed.last_epoch + 1))
