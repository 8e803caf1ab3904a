"""Evaluations of runs."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from splitrail.events.v1 import event_pb2
from splitrail.metrics.v1 import metrics_service_pb2
from splitrail.trainer.v1 import evaluation_pb2, evaluation_service_pb2, job_pb2

from .errors import JobFailedError, RefusedError
from .references import parse_evaluation_reference, part_name, part_value, to_values
from .runs import RunClient, RunLike
from .splits import SplitClient
from .vocabulary import word

EvaluationLike = evaluation_pb2.Evaluation | str
"""An evaluation, `cells/17/eval/2`, or an evaluation_id."""


class EvaluationClient(RunClient, SplitClient):
    """The part of AsyncClient that evaluates runs."""

    async def evaluate(
        self,
        run: RunLike,
        split: str = "test",
        *,
        wait: bool = True,
        force: bool = False,
        on: str | None = None,
        request_id: str = "",
        **arguments: Any,
    ) -> evaluation_pb2.Evaluation:
        """Evaluates a run's best weights on the part `split` of its own split revision, or of the one that `on`
        (`cells@v3#2`) names.

        `arguments`: imgsz, batch, conf, iou, max_det. With `wait`, returns when it has ended, and raises JobFailedError
        unless it succeeded. Raises RefusedError for an unfinished run, an empty split, or images that the run was
        trained on (unless `force`).
        """
        request = evaluation_service_pb2.CreateEvaluationRequest(
            run_id=await self._run_id(run),
            split_id=(await self.get_split(on)).split_id if on else "",
            part=part_value(split),
            arguments=to_values(arguments),
            force=force,
            request_id=request_id,
        )
        evaluation = (await self.channel.call(self.channel.evaluations.CreateEvaluation, request)).evaluation
        return await self.wait_evaluation(evaluation) if wait else evaluation

    async def wait_evaluation(
        self,
        evaluation: evaluation_pb2.Evaluation,
        on_message: Callable[[metrics_service_pb2.WatchRunResponse], None] | None = None,
    ) -> evaluation_pb2.Evaluation:
        """Follows an evaluation to its end and returns it with its result. Raises JobFailedError unless it succeeded."""
        async with aclosing(self.watch_messages(evaluation)) as messages:
            async for message in messages:
                if on_message is not None:
                    on_message(message)
        ended = await self.evaluation(evaluation)
        if ended.job.state != event_pb2.JOB_STATE_SUCCEEDED:
            raise JobFailedError(
                f"the evaluation of {ended.run_reference} on {part_name(ended.part)} {ending(ended.job)}"
            )
        return ended

    async def evaluation(self, evaluation: EvaluationLike) -> evaluation_pb2.Evaluation:
        """The current state of an evaluation."""
        reference = parse_evaluation_reference(evaluation) if isinstance(evaluation, str) else None
        if reference is not None:
            for item in await self.evaluations(reference.run):
                if item.number == reference.number:
                    return item
            raise RefusedError(
                f"{reference.run} has no evaluation {reference.number}; `splitrail eval ls {reference.run}` lists its evaluations"
            )
        identifier = evaluation if isinstance(evaluation, str) else evaluation.evaluation_id
        request = evaluation_service_pb2.GetEvaluationRequest(evaluation_id=identifier)
        return (await self.channel.call(self.channel.evaluations.GetEvaluation, request)).evaluation

    async def evaluations(self, run: RunLike | None = None) -> list[evaluation_pb2.Evaluation]:
        """Evaluations of a run, or of the project, newest first."""
        run_id = await self._run_id(run) if run is not None else ""
        request = evaluation_service_pb2.ListEvaluationsRequest(run_id=run_id, project_id=self.project)
        return [
            item
            async for page in self._pages(self.channel.evaluations.ListEvaluations, request)
            for item in page.evaluations
        ]

    async def cancel_evaluation(self, evaluation: EvaluationLike) -> evaluation_pb2.Evaluation:
        """Cancels an evaluation. Safe to repeat. Raises RefusedError (JOB_ENDED) when it ended in another way."""
        found = await self.evaluation(evaluation) if isinstance(evaluation, str) else evaluation
        request = evaluation_service_pb2.CancelEvaluationRequest(evaluation_id=found.evaluation_id)
        return (await self.channel.call(self.channel.evaluations.CancelEvaluation, request)).evaluation


def ending(job: job_pb2.Job) -> str:
    """`failed (nan): the loss became NaN`, `was cancelled`: how an unsuccessful job ended."""
    if job.state == event_pb2.JOB_STATE_CANCELLED:
        return "was cancelled"
    cause = word(event_pb2.FailureCause, job.cause).replace("_", " ")
    return "failed" + (f" ({cause})" if cause else "") + (f": {job.message}" if job.message else "")
