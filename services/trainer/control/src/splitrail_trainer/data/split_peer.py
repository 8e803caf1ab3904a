"""What the trainer asks of the split service: what a reference means, whether data is held out, and to keep a revision."""

import grpc
from splitrail.internal.split.v1 import staging_service_pb2, staging_service_pb2_grpc
from splitrail.split.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    split_pb2,
    split_service_pb2,
    split_service_pb2_grpc,
)
from splitrail_common.boundary import to_platform_error
from splitrail_common.errors import PlatformError, Reason, Violation, precondition
from splitrail_common.peers import bearer
from splitrail_common.tokens import Signer

from splitrail_trainer.data.convert import PARTS, PARTS_BACK
from splitrail_trainer.data.domain import Part, PinnedData, SplitRevision

_SECONDS = 10.0


class SplitPeer:
    """Calls made for a user carry the user's own token, so that the split service scopes them."""

    def __init__(self, channel: grpc.aio.Channel, signer: Signer) -> None:
        self._datasets = dataset_service_pb2_grpc.DatasetServiceStub(channel)
        self._splits = split_service_pb2_grpc.SplitServiceStub(channel)
        self._staging = staging_service_pb2_grpc.StagingServiceStub(channel)
        self._signer = signer

    async def resolve(self, project_id: str, reference: str, token: str) -> SplitRevision:
        """What `cells@v3#2` means.

        Raises FAILED_PRECONDITION (SPLIT_MISSING, VERSION_STATE, TASK_UNSUPPORTED), or what the split service refuses,
        about `data`.
        """
        request = dataset_service_pb2.ResolveVersionRequest(project_id=project_id, reference=reference)
        try:
            found = await self._datasets.ResolveVersion(request, metadata=bearer(token), timeout=_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _renamed(error, "reference", "data") from error
        _require_committed(found.version, "data")
        await self._require_boxes(found.version, token, "data")
        if not found.split_id:
            text = f"{found.version.dataset_name}@v{found.version.number} has no split: make one first"
            raise precondition(Reason.ERROR_REASON_SPLIT_MISSING, text, field="data")
        return _revision(await self._split(found.split_id, token), found.version)

    async def revision(self, split_id: str, token: str) -> SplitRevision:
        """A revision by id. Raises NOT_FOUND, or FAILED_PRECONDITION (VERSION_STATE, TASK_UNSUPPORTED), about the field
        `split_id`.
        """
        split = await self._split(split_id, token)
        request = dataset_service_pb2.GetVersionRequest(dataset_id=split.dataset_id, version_id=split.version_id)
        version = (await self._datasets.GetVersion(request, metadata=bearer(token), timeout=_SECONDS)).version
        _require_committed(version, "split_id")
        await self._require_boxes(version, token, "split_id")
        return _revision(split, version)

    async def _require_boxes(self, version: dataset_pb2.DatasetVersion, token: str, field: str) -> None:
        """Only detectors can be trained yet; the pod would find out late."""
        request = dataset_service_pb2.GetDatasetRequest(dataset_id=version.dataset_id)
        task = (await self._datasets.GetDataset(request, metadata=bearer(token), timeout=_SECONDS)).dataset.task
        if task != dataset_pb2.TASK_DETECT:
            name = dataset_pb2.Task.Name(task)
            kind = name.removeprefix("TASK_").lower()
            text = f"{version.dataset_name}@v{version.number} is of the task {kind}: only detect can be trained on and evaluated yet"
            raise precondition(Reason.ERROR_REASON_TASK_UNSUPPORTED, text, field=field, metadata={"task": name})

    async def _split(self, split_id: str, token: str) -> split_pb2.SplitRevision:
        request = split_service_pb2.GetSplitRequest(split_id=split_id)
        return (await self._splits.GetSplit(request, metadata=bearer(token), timeout=_SECONDS)).split

    async def pin(self, split_id: str, job_id: str) -> None:
        """Keeps a revision for a job. Repeating it is harmless. Raises FAILED_PRECONDITION (PROJECT_ARCHIVED)."""
        request = staging_service_pb2.PinSplitRequest(split_id=split_id, job_id=job_id)
        await self._staging.PinSplit(request, metadata=bearer(self._signer.service_token()), timeout=_SECONDS)

    async def overlap(self, split_id: str, part: Part, trained_split_id: str, token: str) -> int:
        """Images of the part that the other revision's train or val holds too."""
        request = split_service_pb2.CheckContaminationRequest(
            split_id=split_id, part=PARTS[part], trained_split_id=trained_split_id
        )
        answer = await self._splits.CheckContamination(request, metadata=bearer(token), timeout=_SECONDS)
        return int(answer.overlap)


def _require_committed(version: dataset_pb2.DatasetVersion, field: str) -> None:
    if version.state != dataset_pb2.VERSION_STATE_COMMITTED:
        text = f"{version.dataset_name}@v{version.number} is not committed and can still change: commit it first"
        raise precondition(Reason.ERROR_REASON_VERSION_STATE, text, field=field)


def _renamed(error: grpc.aio.AioRpcError, field: str, ours: str) -> PlatformError:
    """The split service's refusal with its field named as our request names it."""
    known = to_platform_error(error)
    violations = [Violation(ours if item.field == field else item.field, item.description) for item in known.violations]
    return PlatformError(known.code, known.reason, known.message, metadata=known.metadata, violations=violations)


def _revision(split: split_pb2.SplitRevision, version: dataset_pb2.DatasetVersion) -> SplitRevision:
    data = PinnedData(
        project_id=split.project_id,
        dataset_id=split.dataset_id,
        dataset_name=version.dataset_name,
        version_id=split.version_id,
        version_number=version.number,
        split_id=split.split_id,
        split_reference=split.reference,
        split_digest=split.digest,
        class_names=tuple(version.class_names),
    )
    images = {
        PARTS_BACK[summary.part]: summary.images for summary in split.certificate.parts if summary.part in PARTS_BACK
    }
    return SplitRevision(data, images)
