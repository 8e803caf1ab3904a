"""EvaluationService: unpack, check, call the use case, convert."""

from splitrail.trainer.v1 import evaluation_service_pb2 as api
from splitrail.trainer.v1 import evaluation_service_pb2_grpc
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.boundary import Context

from splitrail_trainer.checks import Checker
from splitrail_trainer.evaluations import convert
from splitrail_trainer.evaluations.service import Evaluations


class EvaluationServicer(evaluation_service_pb2_grpc.EvaluationServiceServicer):
    """EvaluationService."""

    def __init__(self, evaluations: Evaluations) -> None:
        self._evaluations = evaluations

    async def CreateEvaluation(
        self, request: api.CreateEvaluationRequest, context: Context
    ) -> api.CreateEvaluationResponse:
        check = Checker()
        wanted = convert.evaluation_request(request, check)
        check.done()
        evaluation = await self._evaluations.create(current_call(), wanted)
        return api.CreateEvaluationResponse(evaluation=convert.evaluation(evaluation))

    async def GetEvaluation(self, request: api.GetEvaluationRequest, context: Context) -> api.GetEvaluationResponse:
        evaluation = await self._evaluations.get(current_call().scope, request.evaluation_id)
        return api.GetEvaluationResponse(evaluation=convert.evaluation(evaluation))

    async def ListEvaluations(
        self, request: api.ListEvaluationsRequest, context: Context
    ) -> api.ListEvaluationsResponse:
        asked = paging.page(request, str)
        before = asked.after[0] if asked.after else None
        found = await self._evaluations.page(
            current_call().scope, convert.evaluation_filter(request), before, asked.size
        )
        evaluations, token = paging.fit(asked, found, convert.evaluation, lambda evaluation: [evaluation.evaluation_id])
        return api.ListEvaluationsResponse(evaluations=evaluations, next_page_token=token)

    async def CancelEvaluation(
        self, request: api.CancelEvaluationRequest, context: Context
    ) -> api.CancelEvaluationResponse:
        evaluation = await self._evaluations.cancel(current_call().scope, request.evaluation_id)
        return api.CancelEvaluationResponse(evaluation=convert.evaluation(evaluation))
