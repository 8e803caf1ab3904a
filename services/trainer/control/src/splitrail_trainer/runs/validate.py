"""Rules on requests that need no state. Each function returns what is asked for, with defaults; the checker names all broken fields at once."""

import re
from collections.abc import Mapping, Sequence

from splitrail.events.v1 import run_event_pb2
from splitrail.split.v1 import dataset_pb2
from splitrail.trainer.v1 import job_service_pb2, run_pb2, run_service_pb2
from splitrail_common.errors import Violation, invalid
from splitrail_common.ids import DEFAULT_PROJECT, is_name, is_project_id, is_uuid
from splitrail_common.training.models import DETECT_MODELS

from splitrail_trainer.jobs.domain import Cause, Kind
from splitrail_trainer.runs.convert import ARTIFACT_KINDS_BACK, CAUSES_BACK, JOB_KINDS_BACK, PARTS_BACK, STATES_BACK
from splitrail_trainer.runs.domain import ArtifactKind, Part, RunFilter

DEFAULT_QUEUE = "default"
MAXIMUM_UPLOADS = 200
_MAXIMUM_ID = 128
_MAXIMUM_LABELS = 64
_MAXIMUM_LABEL = 256
_MAXIMUM_MESSAGE = 16_384
_MAXIMUM_SIZE = 2**40
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RUN = re.compile(r"(?P<name>.+)/(?P<number>[1-9][0-9]{0,8})")


class Checker:
    """Collects violations."""

    def __init__(self, violations: Sequence[Violation] = ()) -> None:
        self._violations = list(violations)

    def require(self, holds: bool, field: str, description: str) -> None:
        """Notes that `field` is wrong unless `holds`."""
        if not holds:
            self._violations.append(Violation(field, description))

    def done(self) -> None:
        """Raises INVALID_ARGUMENT when anything was noted."""
        if self._violations:
            raise invalid(*self._violations)

    def text(self, value: str, field: str, maximum: int) -> None:
        """A short text without control characters."""
        self.require(len(value) <= maximum, field, f"at most {maximum} characters, not {len(value)}")
        self.require(value.isprintable(), field, "holds control characters")


def identifier(value: str, field: str) -> str:
    """A UUID."""
    if not is_uuid(value):
        raise invalid(Violation(field, f"{value[:100]!r} is not a UUID; resolve names like `cells/17` with ResolveRun"))
    return value


def optional_identifier(value: str, field: str) -> str | None:
    """A UUID, or None for the empty string."""
    return identifier(value, field) if value else None


def project(value: str) -> str:
    """A project's slug; default `default`."""
    slug = value or DEFAULT_PROJECT
    if not is_project_id(slug):
        raise invalid(Violation("project_id", f"{value[:100]!r} is not a project's id: lower-case letters, digits, inner hyphens, at most 40"))
    return slug


def _queue(check: Checker, value: str) -> str:
    check.require(not value or is_name(value), "queue", "letters, digits, '.', '_', '-', at most 64")
    return value or DEFAULT_QUEUE


def create_run(request: run_service_pb2.CreateRunRequest, violations: Sequence[Violation]) -> str:
    """The queue. `violations`: what is wrong with the arguments, to be reported together."""
    check = Checker(violations)
    check.require(request.model in DETECT_MODELS, "model", f"{request.model[:100]!r} is not known; one of {', '.join(DETECT_MODELS)}")
    check.require(bool(request.data or request.split_id), "data", "name what to train on, for example cells@v1 (or give split_id)")
    check.require(not request.split_id or is_uuid(request.split_id), "split_id", "is not a UUID")
    check.text(request.data, "data", 200)
    check.text(request.request_id, "request_id", _MAXIMUM_ID)
    check.text(request.external_id, "external_id", _MAXIMUM_ID)
    _labels(check, request.labels)
    queue = _queue(check, request.queue)
    check.done()
    return queue


def _labels(check: Checker, labels: Mapping[str, str]) -> None:
    check.require(len(labels) <= _MAXIMUM_LABELS, "labels", f"at most {_MAXIMUM_LABELS}, not {len(labels)}")
    for key, value in labels.items():
        check.require(is_name(key), f"labels.{key[:64]}", "keys: letters, digits, '.', '_', '-', at most 64")
        check.text(value, f"labels.{key[:64]}", _MAXIMUM_LABEL)


def run_reference(value: str) -> tuple[str, int] | str:
    """`cells/17` as dataset name and number, or a UUID as it is."""
    if is_uuid(value):
        return value
    match = _RUN.fullmatch(value)
    if match is None or not is_name(match["name"]):
        raise invalid(Violation("reference", f"{value[:100]!r} is neither a run_id nor like `cells/17`"))
    return match["name"], int(match["number"])


def run_filter(request: run_service_pb2.ListRunsRequest) -> RunFilter:
    """What to list."""
    if request.state and request.state not in STATES_BACK:
        raise invalid(Violation("state", f"one of {', '.join(run_event_pb2.JobState.keys()[1:])}"))
    return RunFilter(
        project_id=project(request.project_id) if request.project_id else None,
        dataset_id=optional_identifier(request.dataset_id, "dataset_id"),
        state=STATES_BACK[request.state].value if request.state else None,
        external_id=request.external_id or None,
    )


def task(value: int) -> None:
    """Only detection can be trained."""
    if value not in (dataset_pb2.TASK_UNSPECIFIED, dataset_pb2.TASK_DETECT):
        raise invalid(Violation("task", "only TASK_DETECT can be trained"))


def create_evaluation(request: run_service_pb2.CreateEvaluationRequest) -> tuple[ArtifactKind, Part]:
    """Weights, default the best; part, default test."""
    check = Checker()
    weights = ARTIFACT_KINDS_BACK.get(request.weights or run_pb2.ARTIFACT_KIND_BEST_WEIGHTS)
    part = PARTS_BACK.get(request.split or dataset_pb2.SPLIT_TEST)
    check.require(is_uuid(request.run_id), "run_id", "is not a UUID; resolve names like `cells/17` with ResolveRun")
    check.require(weights in (ArtifactKind.BEST_WEIGHTS, ArtifactKind.LAST_WEIGHTS), "weights", "best or last weights")
    check.require(part is not None, "split", "SPLIT_TRAIN, SPLIT_VAL or SPLIT_TEST")
    check.require(not request.split_id or is_uuid(request.split_id), "split_id", "is not a UUID")
    check.text(request.request_id, "request_id", _MAXIMUM_ID)
    check.done()
    return weights or ArtifactKind.BEST_WEIGHTS, part or Part.TEST


def claim(request: job_service_pb2.ClaimJobRequest) -> tuple[str, list[Kind]]:
    """Queue, default `default`; kinds, default all."""
    check = Checker()
    check.text(request.worker, "worker", _MAXIMUM_ID)
    for index, kind in enumerate(request.kinds):
        check.require(kind in JOB_KINDS_BACK, f"kinds[{index}]", "JOB_KIND_TRAIN or JOB_KIND_EVALUATE")
    queue = _queue(check, request.queue)
    check.done()
    return queue, [JOB_KINDS_BACK[kind] for kind in request.kinds] or list(Kind)


def uploads(names: Sequence[str]) -> list[str]:
    """File names."""
    check = Checker()
    check.require(0 < len(names) <= MAXIMUM_UPLOADS, "names", f"between 1 and {MAXIMUM_UPLOADS}, not {len(names)}")
    check.require(len(set(names)) == len(names), "names", "hold a name twice")
    for index, name in enumerate(names[:MAXIMUM_UPLOADS]):
        _file(check, name, f"names[{index}]")
    check.done()
    return list(names)


def _file(check: Checker, name: str, field: str) -> None:
    check.require(_FILE.fullmatch(name) is not None, field, "letters, digits, '.', '-', '_', not beginning with '.' or '-', at most 128")


def commit_artifact(request: job_service_pb2.CommitArtifactRequest) -> ArtifactKind:
    """The kind."""
    check = Checker()
    kind = ARTIFACT_KINDS_BACK.get(request.kind)
    _file(check, request.name, "name")
    check.require(kind is not None, "kind", f"one of {', '.join(run_pb2.ArtifactKind.keys()[1:])}")
    check.require(0 < request.size_bytes <= _MAXIMUM_SIZE, "size_bytes", f"between 1 and {_MAXIMUM_SIZE}, not {request.size_bytes}")
    check.require(_SHA256.fullmatch(request.sha256) is not None, "sha256", "64 lower-case hexadecimal digits")
    check.require((request.epoch > 0) == (kind is ArtifactKind.CHECKPOINT), "epoch", "at least 1 for a checkpoint, 0 for anything else")
    check.done()
    return kind or ArtifactKind.CHECKPOINT


def failure(request: job_service_pb2.FailJobRequest) -> tuple[Cause, str]:
    """Cause and message. A message is shortened and cleaned rather than refused: a failure must be reportable."""
    cause = CAUSES_BACK.get(request.cause)
    if cause is None:
        raise invalid(Violation("cause", f"one of {', '.join(run_event_pb2.FailureCause.keys())}"))
    return cause, request.message[-_MAXIMUM_MESSAGE:].replace("\0", "\ufffd")


def versions(values: Mapping[str, str]) -> dict[str, str]:
    """Names and versions of programs."""
    check = Checker()
    check.require(len(values) <= _MAXIMUM_LABELS, "versions", f"at most {_MAXIMUM_LABELS}, not {len(values)}")
    for key, value in values.items():
        check.text(key, "versions", _MAXIMUM_ID)
        check.text(value, "versions", _MAXIMUM_LABEL)
    check.done()
    return dict(values)
