"""How an attempt ends: causes, messages, tasks side by side."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitrail_pod.concurrency import beside, together
from splitrail_pod.failures import MAX_MESSAGE_BYTES, AttemptFailedError, FailureCause, describe
from splitrail_pod.outcome import Outcome, StoppedError
from splitrail_pod.process import TrainingProcess


@given(message=st.text(max_size=6000), lines=st.text(max_size=6000))
@settings(deadline=None)
def test_messages_fit_and_keep_the_end_of_the_log(message: str, lines: str) -> None:
    text = describe(message, lines)
    assert len(text.encode("utf-8", "surrogatepass")) <= MAX_MESSAGE_BYTES
    text.encode()  # is valid Unicode


def test_of_a_long_log_the_last_lines_stay() -> None:
    text = describe("it broke", "\n".join(f"line {number}" for number in range(5000)))
    assert text.startswith("it broke\nlast lines:\n[...] ")
    assert text.endswith("line 4999")


class Ended(TrainingProcess):
    """A process that has ended; only what `judge` looks at."""

    def __init__(self, *, killed: bool = False, out_of_memory: bool = False) -> None:
        self.killed = killed
        self._out_of_memory = out_of_memory

    def likely_out_of_memory(self) -> bool:
        return self._out_of_memory


@pytest.mark.parametrize(
    ("end", "process", "status", "cause"),
    [
        ({"kind": "failed", "cause": "data", "message": "no images"}, Ended(), 1, FailureCause.FAILURE_CAUSE_DATA),
        ({"kind": "failed", "cause": "nan", "message": "NaN"}, Ended(), 1, FailureCause.FAILURE_CAUSE_NAN),
        ({"kind": "failed", "cause": "arguments", "message": "lr0"}, Ended(), 1, FailureCause.FAILURE_CAUSE_ARGUMENTS),
        ({"kind": "failed", "cause": "checkpoint", "message": "damaged"}, Ended(), 1, FailureCause.FAILURE_CAUSE_PROCESS),
        (None, Ended(out_of_memory=True), -9, FailureCause.FAILURE_CAUSE_HOST_MEMORY),
        (None, Ended(), -9, FailureCause.FAILURE_CAUSE_PROCESS),
        (None, Ended(), -11, FailureCause.FAILURE_CAUSE_PROCESS),
        (None, Ended(), 1, FailureCause.FAILURE_CAUSE_PROCESS),
    ],
)
def test_causes(end: dict[str, str] | None, process: Ended, status: int, cause: int) -> None:
    with pytest.raises(AttemptFailedError) as caught:
        Outcome(end=end).judge(process, status)
    assert caught.value.cause == cause


def test_what_we_stopped_is_no_failure() -> None:
    with pytest.raises(StoppedError):
        Outcome(end={"kind": "finished", "result": "cancelled"}).judge(Ended(), 3)
    with pytest.raises(StoppedError):
        Outcome().judge(Ended(killed=True), -9)
    Outcome(end={"kind": "finished", "result": "completed"}).judge(Ended(), 0)


async def test_together_raises_the_first_exception_bare_and_ends_the_others() -> None:
    ended = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fails() -> None:
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        await together(forever(), fails())
    assert ended.is_set()


async def test_together_of_nothing() -> None:
    assert await together() == []


async def test_a_background_task_that_returns_does_not_end_the_main_one_but_one_that_raises_does() -> None:
    async def returns() -> None:
        return

    async def fails(after: asyncio.Event) -> None:
        await after.wait()
        raise ValueError("background")

    never = asyncio.Event()

    async def main() -> str:
        for _ in range(5):
            await asyncio.sleep(0)
        return "done"

    assert await beside(main(), returns(), fails(never)) == "done"
    now = asyncio.Event()
    now.set()
    with pytest.raises(ValueError, match="background"):
        await beside(never.wait(), fails(now))
