"""How an attempt ends: causes and messages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitrail_pod.exchange.messages import CancelledRecord, CompletedRecord, FailedRecord, JobFailureCause
from splitrail_pod.supervisor.failures import MAX_MESSAGE_BYTES, AttemptFailedError, FailureCause, describe
from splitrail_pod.supervisor.process import TrainingProcess
from splitrail_pod.supervisor.results.report import ProcessReport, StoppedError


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


class EndedProcess(TrainingProcess):
    """A process that has ended; only what `judge` looks at."""

    def __init__(self, *, killed: bool = False, out_of_memory: bool = False) -> None:
        self.killed = killed
        self._out_of_memory = out_of_memory

    def likely_out_of_memory(self) -> bool:
        return self._out_of_memory


def failed(cause: JobFailureCause) -> FailedRecord:
    return FailedRecord(cause=cause, message="no images")


@pytest.mark.parametrize(
    ("end", "process", "status", "cause"),
    [
        (failed(JobFailureCause.DATA), EndedProcess(), 1, FailureCause.FAILURE_CAUSE_DATA),
        (failed(JobFailureCause.NAN), EndedProcess(), 1, FailureCause.FAILURE_CAUSE_NAN),
        (failed(JobFailureCause.ARGUMENTS), EndedProcess(), 1, FailureCause.FAILURE_CAUSE_ARGUMENTS),
        (failed(JobFailureCause.CHECKPOINT), EndedProcess(), 1, FailureCause.FAILURE_CAUSE_PROCESS),
        (None, EndedProcess(out_of_memory=True), -9, FailureCause.FAILURE_CAUSE_HOST_MEMORY),
        (None, EndedProcess(), -9, FailureCause.FAILURE_CAUSE_PROCESS),
        (None, EndedProcess(), -11, FailureCause.FAILURE_CAUSE_PROCESS),
        (None, EndedProcess(), 1, FailureCause.FAILURE_CAUSE_PROCESS),
    ],
)
def test_causes(end: FailedRecord | None, process: EndedProcess, status: int, cause: int) -> None:
    with pytest.raises(AttemptFailedError) as caught:
        ProcessReport(end=end).judge(process, status)
    assert caught.value.cause == cause


def test_what_we_stopped_is_no_failure() -> None:
    with pytest.raises(StoppedError):
        ProcessReport(end=CancelledRecord()).judge(EndedProcess(), 3)
    with pytest.raises(StoppedError):
        ProcessReport().judge(EndedProcess(killed=True), -9)
    ProcessReport(end=CompletedRecord(seconds=1.0)).judge(EndedProcess(), 0)
