"""The base of the asynchronous client: the open channel, paging, and looking up versions by reference."""

import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import grpc
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, version_pb2, version_service_pb2

from .channel import Channel
from .connection import DEFAULT_PROJECT, Connection
from .errors import RefusedError

PAGE = 1000
"""The most items that one request or one page may hold."""
_DRAFT = re.compile(r"^(?P<dataset>[^@#]+)@draft$")
_ID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


class BaseClient:
    """A connection to one gateway for one project. An asynchronous context manager."""

    def __init__(self, connection: Connection, project: str = DEFAULT_PROJECT) -> None:
        self.connection = connection
        self.project = project
        self._channel: Channel | None = None

    async def __aenter__(self) -> Self:
        self._channel = Channel(self.connection)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        self._channel = None

    @property
    def channel(self) -> Channel:
        """The open channel; RuntimeError outside of the context."""
        if self._channel is None:
            raise RuntimeError("the client is not open: use `async with connect_async() as client`")
        return self._channel

    async def version(self, reference: str) -> dataset_pb2.DatasetVersion:
        """The version that `cells` (newest), `cells@v3` or `cells@v3#2` means; `cells@draft`: the dataset's draft, if
        it has only one.

        The version_id of a version or draft works too.
        """
        if match := _DRAFT.match(reference):
            return await self._only_draft(match["dataset"])
        return (await self._resolve(reference)).version

    async def dataset(self, name: str) -> dataset_pb2.Dataset:
        """The dataset of this name. Raises RefusedError when there is none."""
        request = dataset_service_pb2.ListDatasetsRequest(project_id=self.project, name=name)
        found = [
            item
            for item in (await self.channel.call(self.channel.datasets.ListDatasets, request)).datasets
            if item.name == name
        ]
        if not found:
            raise RefusedError(
                f"there is no dataset {name!r} in the project {self.project}; `splitrail dataset ls` lists the datasets"
            )
        return found[0]

    async def drafts(self, dataset: str | dataset_pb2.DatasetVersion) -> list[version_pb2.Draft]:
        """Drafts of the dataset of this name, or of the one that a version or draft belongs to, newest first."""
        dataset_id = (await self.dataset(dataset) if isinstance(dataset, str) else dataset).dataset_id
        request = version_service_pb2.ListDraftsRequest(dataset_id=dataset_id)
        return [item async for page in self._pages(self.channel.versions.ListDrafts, request) for item in page.drafts]

    async def _only_draft(self, dataset: str) -> dataset_pb2.DatasetVersion:
        drafts = await self.drafts(dataset)
        if not drafts:
            raise RefusedError(
                f"{dataset} has no draft: it was committed or deleted, or none was started; `splitrail version ls {dataset}` lists its versions,"
                f" `splitrail version new {dataset}` starts one"
            )
        if len(drafts) > 1:
            ids = ", ".join(item.version.version_id for item in drafts)
            raise RefusedError(f"{dataset} has {len(drafts)} drafts: name one by its id ({ids})")
        return drafts[0].version

    async def _resolve(self, reference: str) -> dataset_service_pb2.ResolveVersionResponse:
        request = dataset_service_pb2.ResolveVersionRequest(project_id=self.project, reference=reference)
        with explaining_not_found(reference):
            return await self.channel.call(self.channel.datasets.ResolveVersion, request)

    async def _pages(self, method: Callable[..., Any], request: Any) -> AsyncGenerator[Any, None]:
        """All pages that a List call returns for `request`."""
        request.page_size = PAGE
        while True:
            page = await self.channel.call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def is_version_id(reference: str) -> bool:
    """True for the id (a UUID) of a version or draft."""
    return _ID.match(reference) is not None


@contextmanager
def explaining_not_found(reference: str) -> Iterator[None]:
    """Adds to NOT_FOUND for a version_id how drafts end: the caller may have kept the id of one that is gone."""
    try:
        yield
    except RefusedError as error:
        if error.code is not grpc.StatusCode.NOT_FOUND or not is_version_id(reference):
            raise
        text = (
            f"there is no version or draft {reference}: it was deleted, or it was a draft that was committed without changes, or it is in a project"
            " that you cannot access; `splitrail version ls DATASET` lists versions and drafts, `splitrail version new DATASET` starts a draft"
        )
        raise RefusedError(text, code=error.code, reason=error.reason, metadata=error.metadata) from error
