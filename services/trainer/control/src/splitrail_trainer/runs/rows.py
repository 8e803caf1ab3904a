"""Rows of the store as values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from splitrail_trainer.jobs.domain import Cause, Job, Kind, State
from splitrail_trainer.runs.domain import Artifact, ArtifactKind, Checkpoint, DataPin, Evaluation, JobInfo, Part, Run, StoredFile

Row = Mapping[str, Any]


def job(row: Row) -> Job:
    """From the columns of `job`."""
    return Job(
        job_id=row["job_id"],
        project_id=row["project_id"],
        kind=Kind(row["kind"]),
        queue=row["queue"],
        state=State(row["state"]),
        attempt=row["attempt"],
        worker=row["worker"],
        lapsed=row["lapsed"],
        cancel_requested=row["cancel_requested"],
        failures=row["failures"],
        max_attempts=row["max_attempts"],
        cause=Cause(row["cause"]),
        message=row["message"],
    )


def job_parameters(value: Job) -> dict[str, Any]:
    """For the queries that write a job."""
    return asdict(value) | {"ended": value.ended}


def job_info(row: Row) -> JobInfo:
    """From the columns of `job_view`."""
    return JobInfo(job(row), row["queue_position"], row["create_time"], row["start_time"], row["end_time"])


def artifact(row: Row) -> Artifact:
    """From the columns of `artifact`."""
    file = StoredFile(row["key"], row["sha256"], row["size_bytes"])
    return Artifact(row["job_id"], row["attempt"], row["name"], ArtifactKind(row["kind"]), file, row["epoch"])


def run(row: Row, artifacts: Sequence[Artifact]) -> Run:
    """From the columns of `run` and `job_view`."""
    checkpoint = None
    if row["checkpoint_epoch"]:
        file = StoredFile(row["checkpoint_key"], row["checkpoint_sha256"], row["checkpoint_size_bytes"])
        checkpoint = Checkpoint(row["checkpoint_epoch"], row["checkpoint_attempt"], file)
    data = DataPin(
        project_id=row["project_id"],
        dataset_id=row["dataset_id"],
        dataset_name=row["dataset_name"],
        version_id=row["version_id"],
        version_number=row["version_number"],
        split_id=row["split_id"],
        split_reference=row["split_reference"],
        split_digest=row["split_digest"],
        class_names=tuple(row["class_names"]),
    )
    return Run(
        info=job_info(row),
        number=row["number"],
        data=data,
        model=row["model"],
        arguments=row["arguments"],
        resolved=row["resolved_arguments"],
        epochs=row["epochs"],
        checkpoint=checkpoint,
        external_id=row["external_id"],
        labels=row["labels"],
        versions=row["versions"],
        artifacts=tuple(artifacts),
    )


def evaluation(row: Row) -> Evaluation:
    """From the columns of `evaluation`, `job_view` and the run's reference."""
    return Evaluation(
        info=job_info(row),
        run_id=row["run_id"],
        run_reference=f"{row['run_dataset_name']}/{row['run_number']}",
        number=row["number"],
        weights=ArtifactKind(row["weights"]),
        weights_file=StoredFile(row["weights_key"], row["weights_sha256"], row["weights_size_bytes"]),
        split_id=row["split_id"],
        split_reference=row["split_reference"],
        part=Part(row["part"]),
        contaminated_images=row["contaminated_images"],
        arguments=row["arguments"],
        result=row["result"],
    )
