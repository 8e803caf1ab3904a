"""Documents about jobs: runs and evaluations, what they leave behind, and the arguments they take."""

from splitrail.events.v1 import run_event_pb2
from splitrail.metrics.v1 import metrics_pb2
from splitrail.trainer.v1 import run_pb2, run_service_pb2

from ...references import from_value, split_name
from .words import Document, time_text, word


def state(job: run_pb2.Job) -> str:
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    return word(run_event_pb2.JobState, job.state, "JOB_STATE_")


def _job(job: run_pb2.Job) -> Document:
    return {
        "state": state(job),
        "attempt": job.attempt,
        "failures": job.failures,
        "cause": word(run_event_pb2.FailureCause, job.cause, "FAILURE_CAUSE_"),
        "message": job.message,
        "cancel_requested": job.cancel_requested,
        "queue": job.queue,
        "queue_position": job.queue_position if job.HasField("queue_position") else None,
        "worker": job.worker,
        "create_time": time_text(job.create_time),
        "start_time": time_text(job.start_time),
        "end_time": time_text(job.end_time),
    }


def run(item: run_pb2.Run) -> Document:
    return {
        "run_id": item.run_id,
        "reference": item.reference,
        "project": item.project_id,
        **_job(item.job),
        "model": item.model,
        "epochs": item.epochs,
        "checkpoint_epoch": item.checkpoint_epoch,
        "dataset_id": item.dataset_id,
        "version_id": item.version_id,
        "split_id": item.split_id,
        "split_reference": item.split_reference,
        "split_digest": item.split_digest,
        "class_names": list(item.class_names),
        "arguments": {name: from_value(value) for name, value in sorted(item.arguments.items())},
        "resolved_arguments": {name: from_value(value) for name, value in sorted(item.resolved_arguments.items())},
        "versions": dict(item.versions),
        "external_id": item.external_id,
        "labels": dict(item.labels),
    }


def epoch(item: metrics_pb2.Epoch) -> Document:
    return {"epoch": item.epoch, "attempt": item.attempt, "metrics": dict(sorted(item.metrics.items()))}


def artifact(item: run_pb2.Artifact) -> Document:
    return {
        "name": item.name,
        "kind": word(run_pb2.ArtifactKind, item.kind, "ARTIFACT_KIND_"),
        "attempt": item.attempt,
        "size_bytes": item.size_bytes,
        "sha256": item.sha256,
        "url": item.url,
    }


def plot(item: metrics_pb2.Plot, owner: str) -> Document:
    return {
        "name": item.name,
        "of": owner,
        "title": item.title,
        "kind": item.kind,
        "content_type": item.content_type,
        "size_bytes": item.size_bytes,
        "sha256": item.sha256,
        "url": item.url,
        "url_expire_time": time_text(item.url_expire_time),
    }


def log_line(item: metrics_pb2.FeedEvent) -> Document:
    return {
        "seq": item.seq,
        "time": time_text(item.event_time),
        "attempt": item.attempt,
        "level": word(run_event_pb2.LogLevel, item.log.level, "LOG_LEVEL_"),
        "text": item.log.text,
    }


def evaluation_reference(item: run_pb2.Evaluation) -> str:
    """`cells/17/eval/2`."""
    return f"{item.run_reference}/eval/{item.number}"


def confusion_counts(matrix: run_pb2.ConfusionMatrix) -> list[list[float]]:
    """Rows are predicted, columns true; of both the last is the background, whatever the classes are called. Empty when there is no matrix."""
    side = len(matrix.class_names) + 1
    return [list(matrix.counts[start : start + side]) for start in range(0, len(matrix.counts), side)]


def evaluation(item: run_pb2.Evaluation) -> Document:
    result, matrix = item.result, item.result.confusion_matrix
    return {
        "evaluation_id": item.evaluation_id,
        "reference": evaluation_reference(item),
        "run_id": item.run_id,
        "run_reference": item.run_reference,
        **_job(item.job),
        "weights": word(run_pb2.ArtifactKind, item.weights, "ARTIFACT_KIND_"),
        "split": split_name(item.split),
        "split_id": item.split_id,
        "split_reference": item.split_reference,
        "contaminated_images": item.contaminated_images,
        "arguments": {name: from_value(value) for name, value in sorted(item.arguments.items())},
        "images": result.images,
        "objects": result.objects,
        "overall": dict(sorted(result.overall.items())),
        "classes": [
            {"class": row.class_name, "images": row.images, "objects": row.objects, **dict(sorted(row.metrics.items()))} for row in result.classes
        ],
        "confusion_matrix": {
            "class_names": list(matrix.class_names),
            "confidence": matrix.confidence,
            "counts": confusion_counts(matrix),
        },
        "curves": [
            {
                "name": curve.name,
                "x_title": curve.x_title,
                "y_title": curve.y_title,
                "x": list(curve.x),
                "classes": [{"class": one.class_name, "y": list(one.y)} for one in curve.classes],
            }
            for curve in result.curves
        ],
        "speed_ms": dict(sorted(result.speed_ms.items())),
    }


def argument(item: run_service_pb2.ArgumentDescriptor) -> Document:
    return {
        "name": item.name,
        "group": item.group,
        "type": word(run_service_pb2.ArgumentType, item.type, "ARGUMENT_TYPE_"),
        "default": from_value(item.default_value),
        "minimum": item.minimum if item.HasField("minimum") else None,
        "maximum": item.maximum if item.HasField("maximum") else None,
        "choices": list(item.choices),
        "multiple_of": item.multiple_of or None,
        "help": item.help,
    }
