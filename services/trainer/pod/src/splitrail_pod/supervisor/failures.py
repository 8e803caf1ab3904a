"""How an attempt can end before its time, with the causes that the trainer service knows."""

from splitrail.events.v1 import event_pb2

from splitrail_pod.exchange.messages import JobFailureCause

FailureCause = event_pb2.FailureCause
MAX_MESSAGE_BYTES = 4096
_CUT = "[...] "
_CAUSES: dict[JobFailureCause, FailureCause.ValueType] = {
    JobFailureCause.DATA: FailureCause.FAILURE_CAUSE_DATA,
    JobFailureCause.ARGUMENTS: FailureCause.FAILURE_CAUSE_ARGUMENTS,
    JobFailureCause.NAN: FailureCause.FAILURE_CAUSE_NAN,
    JobFailureCause.ACCELERATOR_MEMORY: FailureCause.FAILURE_CAUSE_ACCELERATOR_MEMORY,
    JobFailureCause.HOST_MEMORY: FailureCause.FAILURE_CAUSE_HOST_MEMORY,
}


class FencedError(Exception):
    """The platform has told us that this attempt is over: a later one has been claimed, the job has ended, or its token
    is no longer accepted. Nothing may be written after it.
    """


class AttemptFailedError(Exception):
    """This attempt cannot succeed; the message is for people: what, where, what to do."""

    def __init__(self, cause: FailureCause.ValueType, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def cause_of(cause: JobFailureCause) -> FailureCause.ValueType:
    """The cause of a `failed` record as the trainer service knows it; what has no counterpart (a damaged checkpoint)
    counts as PROCESS.
    """
    return _CAUSES.get(cause, FailureCause.FAILURE_CAUSE_PROCESS)


def describe(message: str, last_lines: str) -> str:
    """The message followed by the end of the log, at most 4 KiB of UTF-8; of a longer log the last part stays."""
    text = message.encode("utf-8", "replace")[:MAX_MESSAGE_BYTES].decode("utf-8", "ignore")
    lines = last_lines.strip()
    if not lines:
        return text
    head = f"{text}\nlast lines:\n"
    room = MAX_MESSAGE_BYTES - len(head.encode())
    data = lines.encode("utf-8", "replace")
    if len(data) <= room:
        return head + data.decode()
    if room <= len(_CUT):
        return text
    return head + _CUT + data[-(room - len(_CUT)) :].decode("utf-8", "ignore")
