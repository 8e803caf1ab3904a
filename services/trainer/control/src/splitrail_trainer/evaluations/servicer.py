"""RunService's RPCs about evaluations: unpack, check, call the use case, convert."""

from splitrail.trainer.v1 import run_service_pb2
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.boundary import Context

from splitrail_trainer import checks
from splitrail_trainer.checks import Checker, page_key
from splitrail_trainer.evaluations import convert, validate
from splitrail_trainer.evaluations.service import Evaluations


class EvaluationRpcs:
    """The part of RunService that is about evaluations."""

    def __init__(self, evaluations: Evaluations) -> None:
        self._evaluations = evaluations

    async def CreateEvaluation(self, request: run_service_pb2.CreateEvaluationRequest, context: Context) -> run_service_pb2.CreateEvaluationResponse:
        check = Checker()
        wanted = convert.evaluation_request(request, check)
        validate.evaluation_request(wanted, check)
        evaluation = await self._evaluations.create(current_call(), wanted)
        return run_service_pb2.CreateEvaluationResponse(evaluation=convert.evaluation(evaluation))

    async def GetEvaluation(self, request: run_service_pb2.GetEvaluationRequest, context: Context) -> run_service_pb2.GetEvaluationResponse:
        evaluation_id = checks.identifier(request.evaluation_id, "evaluation_id")
        evaluation = await self._evaluations.get(current_call().scope, evaluation_id)
        return run_service_pb2.GetEvaluationResponse(evaluation=convert.evaluation(evaluation))

    async def ListEvaluations(self, request: run_service_pb2.ListEvaluationsRequest, context: Context) -> run_service_pb2.ListEvaluationsResponse:
        size = paging.page_size(request.page_size)
        wanted = convert.evaluation_filter(request)
        found = await self._evaluations.page(current_call().scope, wanted, page_key(request.page_token), size + 1)
        made = [convert.evaluation(evaluation) for evaluation in found[:size]]
        count = paging.fitting(made)
        token = paging.encode([made[count - 1].evaluation_id]) if len(found) > count else ""
        return run_service_pb2.ListEvaluationsResponse(evaluations=made[:count], next_page_token=token)

    async def CancelEvaluation(self, request: run_service_pb2.CancelEvaluationRequest, context: Context) -> run_service_pb2.CancelEvaluationResponse:
        evaluation_id = checks.identifier(request.evaluation_id, "evaluation_id")
        evaluation = await self._evaluations.cancel(current_call().scope, evaluation_id)
        return run_service_pb2.CancelEvaluationResponse(evaluation=convert.evaluation(evaluation))
