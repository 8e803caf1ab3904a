"""Splitrail for Python: register data, split it, train on exactly that split, watch every epoch, evaluate on what was
held out.

import splitrail_client

client = splitrail_client.connect()
data = client.import_dataset("cells/").reference
client.split(data, ratios=(0.7, 0.15, 0.15), seed=42)
run = client.train(data=data, model="yolov8n", epochs=20)
for event in client.watch(run):
    if event.HasField("epoch"):
        print(event.epoch.epoch, event.epoch.metrics["mAP50"])
client.history(run)
print(client.evaluate(run, split="test").result.overall["mAP50"])
"""

from splitrail.metrics.v1.metrics_pb2 import EpochMetrics, FeedEvent, MetricDescriptor, Plot
from splitrail.split.v1.dataset_pb2 import Annotation, Box, Dataset, DatasetVersion
from splitrail.split.v1.import_pb2 import Import, Problem
from splitrail.split.v1.project_pb2 import Project
from splitrail.split.v1.split_pb2 import SplitRevision
from splitrail.split.v1.version_pb2 import AnnotationList, AssetMetadata, AssetUpsert
from splitrail.trainer.v1.evaluation_pb2 import Evaluation
from splitrail.trainer.v1.job_pb2 import Artifact
from splitrail.trainer.v1.run_pb2 import Run

from .client import AsyncClient
from .connection import DEFAULT_PROJECT, Connection, find_connection
from .errors import (
    ImportFailedError,
    JobFailedError,
    RefusedError,
    SplitrailError,
    UnreachableError,
    UsageError,
    Violation,
)
from .export import ExportProgress, ExportResult
from .sync import Client
from .transfer import ImportProgress, ImportResult
from .versions import DraftChange

__all__ = [
    "Annotation",
    "AnnotationList",
    "Artifact",
    "AssetMetadata",
    "AssetUpsert",
    "AsyncClient",
    "Box",
    "Client",
    "Connection",
    "Dataset",
    "DatasetVersion",
    "DraftChange",
    "EpochMetrics",
    "Evaluation",
    "ExportProgress",
    "ExportResult",
    "FeedEvent",
    "Import",
    "ImportFailedError",
    "ImportProgress",
    "ImportResult",
    "JobFailedError",
    "MetricDescriptor",
    "Plot",
    "Problem",
    "Project",
    "RefusedError",
    "Run",
    "SplitRevision",
    "SplitrailError",
    "UnreachableError",
    "UsageError",
    "Violation",
    "connect",
    "connect_async",
    "find_connection",
]


def connect(url: str | None = None, token: str | None = None, *, project: str = DEFAULT_PROJECT) -> Client:
    """A client for the gateway at `url`; see `find_connection` for where address and token are looked for. Raises
    UsageError.
    """
    return Client(connect_async(url, token, project=project))


def connect_async(url: str | None = None, token: str | None = None, *, project: str = DEFAULT_PROJECT) -> AsyncClient:
    """The asynchronous twin of `connect`: `async with connect_async() as client`. Raises UsageError."""
    return AsyncClient(find_connection(url, token), project)
