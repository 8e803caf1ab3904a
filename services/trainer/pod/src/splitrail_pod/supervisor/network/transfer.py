"""Bytes from and to the object store over signed URLs, checked on the way. The URLs are secrets: they appear in no
message and no log.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx

from splitrail_pod.supervisor.network.retry import BadResponseError, UnavailableError, retrying

_CHUNK = 256 * 1024
_UNAVAILABLE = {408, 425, 429, 500, 502, 503, 504}
_OK = range(200, 300)


class CorruptError(BadResponseError):
    """The store's bytes are not those that were announced."""


def open_client(concurrency: int) -> httpx.AsyncClient:
    """A pooled client. Ignores proxies from the environment, as the services' S3 client does."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(connect=5, read=60, write=60, pool=None),
        limits=httpx.Limits(max_connections=concurrency + 4, max_keepalive_connections=concurrency + 4),
        follow_redirects=False,
        trust_env=False,
    )


class Transfer:
    """Downloads and uploads of one pod."""

    def __init__(self, client: httpx.AsyncClient, patience_seconds: float) -> None:
        self._client = client
        self._patience = patience_seconds

    async def download(
        self, url: str, target: Path, *, sha256: str, size_bytes: int, again: Callable[[], Awaitable[str]] | None = None
    ) -> None:
        """Writes the bytes behind `url` to `target`, which exists afterwards only if they have that size and hash
        (hex).

        `again` gives a newly signed URL for when the store refuses this one, since URLs expire. A download may be
        repeated: it changes nothing but its target. Raises UnavailableError after the patience, BadResponseError
        (CorruptError) after a few wrong answers.
        """
        refused = False
        async for attempt in retrying(self._patience):
            with attempt:
                if refused and again is not None:
                    url, refused = await again(), False
                try:
                    await self._download_once(url, target, sha256=sha256, size_bytes=size_bytes)
                except BaseException as error:
                    refused = isinstance(error, BadResponseError)
                    target.unlink(missing_ok=True)  # noqa: ASYNC240 - one system call
                    raise

    async def _download_once(self, url: str, target: Path, *, sha256: str, size_bytes: int) -> None:
        digest = hashlib.sha256()
        size = 0
        # Writes go to the page cache and a chunk hashes in well under a millisecond: not worth a thread each.
        with target.open("wb") as file:
            try:
                async with self._client.stream("GET", url) as response:
                    if response.status_code not in _OK:
                        await _refuse("GET", response)
                    async for chunk in response.aiter_bytes(_CHUNK):
                        size += len(chunk)
                        if size > size_bytes:
                            raise CorruptError(
                                f"the store sends more than the {size_bytes} bytes announced for {sha256}"
                            )
                        digest.update(chunk)
                        file.write(chunk)
            except httpx.HTTPError as error:
                raise UnavailableError(f"download from the object store: {type(error).__name__}: {error}") from error
        if size != size_bytes or digest.hexdigest() != sha256:
            raise CorruptError(
                f"the store holds {size} bytes with SHA-256 {digest.hexdigest()}, announced were {size_bytes} with {sha256}"
            )

    async def upload(self, url: str, source: Path, *, size_bytes: int, content_type: str) -> None:
        """Uploads a file by HTTP PUT, once. Raises UnavailableError, BadResponseError, FileNotFoundError when the file
        is gone.
        """
        with source.open("rb") as file:

            async def body() -> AsyncIterator[bytes]:
                while chunk := file.read(_CHUNK):
                    yield chunk

            headers = {"content-length": str(size_bytes), "content-type": content_type}
            try:
                response = await self._client.put(url, content=body(), headers=headers)
            except httpx.HTTPError as error:
                raise UnavailableError(f"upload to the object store: {type(error).__name__}: {error}") from error
        if response.status_code not in _OK:
            await _refuse("PUT", response)


async def _refuse(method: str, response: httpx.Response) -> None:
    """Raises UnavailableError or BadResponseError with what the store said."""
    body = (await response.aread())[:500].decode("utf-8", "replace")
    text = f"the object store answers {response.status_code} to a {method}: {body}"
    raise UnavailableError(text) if response.status_code in _UNAVAILABLE else BadResponseError(text)
