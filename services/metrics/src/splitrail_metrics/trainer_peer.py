"""The trainer service, as a client."""

from collections.abc import Awaitable
from typing import TypeVar

import grpc
from splitrail.trainer.v1 import (
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    run_service_pb2,
    run_service_pb2_grpc,
)
from splitrail_common.peers import bearer

from .domain import RunSplit

T = TypeVar("T")
_SECONDS = 5.0


class TrainerPeer:
    """Asks for a job on behalf of the caller, so that the trainer service's scoping decides."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._runs = run_service_pb2_grpc.RunServiceStub(channel)
        self._evaluations = evaluation_service_pb2_grpc.EvaluationServiceStub(channel)

    async def split(self, job_id: str, token: str) -> RunSplit | None:
        """The split of a run or an evaluation; None when the bearer of `token` may see no such job. Raises
        grpc.aio.AioRpcError when the trainer does not answer."""
        run_request = run_service_pb2.GetRunRequest(run_id=job_id)
        if found := await _found(self._runs.GetRun(run_request, metadata=bearer(token), timeout=_SECONDS)):
            run = found.run
            return RunSplit(run.split_id, run.split_reference, run.split_digest, run.dataset_id, run.version_id)
        request = evaluation_service_pb2.GetEvaluationRequest(evaluation_id=job_id)
        if judged := await _found(self._evaluations.GetEvaluation(request, metadata=bearer(token), timeout=_SECONDS)):
            return RunSplit(judged.evaluation.split_id, judged.evaluation.split_reference)
        return None


async def _found(call: Awaitable[T]) -> T | None:
    """The answer; None for NOT_FOUND."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise
