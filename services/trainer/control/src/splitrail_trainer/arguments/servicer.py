"""RunService's RPC about arguments."""

from splitrail.split.v1 import dataset_pb2
from splitrail.trainer.v1 import run_service_pb2 as api
from splitrail_common.boundary import Context
from splitrail_common.errors import Violation, invalid
from splitrail_common.training.arguments import TRAINING, ULTRALYTICS_VERSION
from splitrail_common.training.models import DETECT_MODELS

from splitrail_trainer.arguments import convert


class ArgumentRpcs:
    """The part of RunService that describes what a run may be given."""

    async def GetTrainingSchema(
        self, request: api.GetTrainingSchemaRequest, context: Context
    ) -> api.GetTrainingSchemaResponse:
        if request.task not in (dataset_pb2.TASK_UNSPECIFIED, dataset_pb2.TASK_DETECT):
            raise invalid(Violation("task", "only TASK_DETECT can be trained"))
        table = sorted(TRAINING, key=lambda item: (item.group.value, item.name))
        return api.GetTrainingSchemaResponse(
            arguments=[convert.descriptor(item) for item in table],
            models=DETECT_MODELS,
            ultralytics_version=ULTRALYTICS_VERSION,
        )
