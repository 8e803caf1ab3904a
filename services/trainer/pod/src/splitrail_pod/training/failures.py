"""Why a training or evaluation failed: an exception as a cause and a message."""

from __future__ import annotations

from splitrail_pod.exchange.messages import JobFailureCause


class JobFailedError(Exception):
    """Ends the process with a `failed` record; `message` is for people: what, where, what to do."""

    def __init__(self, cause: JobFailureCause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class CancelOrderedError(Exception):
    """The supervisor ordered a stop; raised between two batches."""


def explain(error: BaseException) -> tuple[JobFailureCause, str]:
    """The cause and message of `error`, which ended the work.

    Ultralytics and torch raise RuntimeError for nearly everything, out of memory included, so their text is looked at.
    """
    if isinstance(error, JobFailedError):
        return error.cause, str(error)
    text = str(error)
    lowered = text.lower()
    if isinstance(error, MemoryError) or "defaultcpuallocator" in lowered or "can't allocate memory" in lowered:
        return JobFailureCause.HOST_MEMORY, f"the machine's memory is too small: {text or 'MemoryError'}"
    if isinstance(error, RuntimeError) and any(
        sign in lowered
        for sign in (
            "out of memory",
            "cublas_status_alloc_failed",
            "cudnn_status_internal_error",
            "unable to find an engine",
        )
    ):
        return (
            JobFailureCause.ACCELERATOR_MEMORY,
            f"the accelerator's memory is too small; use a smaller batch or imgsz: {text}",
        )
    if (
        isinstance(error, RuntimeError)
        and "nan" in lowered
        and ("persisted" in lowered or "detected" in lowered or "corrupted" in lowered)
    ):
        return (
            JobFailureCause.NAN,
            f"the loss became NaN or infinite and did not recover; lower lr0, or set amp=False: {text}",
        )
    return JobFailureCause.PROCESS, f"{type(error).__name__}: {text}"
