"""The asynchronous client. generate_sync.py makes `sync.Client` of it, for scripts and notebooks."""

from .datasets import DatasetClient
from .evaluations import EvaluationClient
from .projects import ProjectClient
from .versions import VersionClient


class AsyncClient(ProjectClient, DatasetClient, VersionClient, EvaluationClient):
    """A client of one gateway. An asynchronous context manager; see `connect_async`.

    Every call may raise RefusedError (with `reason` and `violations`) or UnreachableError.
    """
