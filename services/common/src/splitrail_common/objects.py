"""S3: bytes in one bucket, through the minio SDK on worker threads, and URLs signed for the public endpoint."""

import asyncio
import copy
import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import stamina
import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from .errors import unavailable
from .settings import ObjectStoreSettings

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Stored:
    """An object that exists."""

    key: str
    size_bytes: int


def _client(endpoint: str, access_key: str, secret_key: str, region: str) -> Minio:
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.netloc or url.path not in ("", "/"):
        raise ValueError(f"{endpoint!r} is not an S3 endpoint: expected http(s)://host:port")
    pool = urllib3.PoolManager(
        maxsize=32,
        timeout=urllib3.Timeout(connect=5, read=60),
        retries=urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
    )
    return Minio(url.netloc, access_key, secret_key, secure=url.scheme == "https", region=region, http_client=pool)


@contextmanager
def _answering() -> Iterator[None]:
    """Turns a store that does not answer, or says itself that it cannot at the moment, into UNAVAILABLE."""
    try:
        yield
    except (
        urllib3.exceptions.HTTPError,
        ServerError,
        InvalidResponseError,
    ) as error:  # the latter: what proxies in between say
        raise unavailable("the object store") from error
    except S3Error as error:
        if error.response is not None and error.response.status >= 500:
            raise unavailable("the object store") from error
        raise


class ObjectStore:
    """The platform's bucket. Methods that talk to the store run on a thread and raise UNAVAILABLE when it does not
    answer."""

    def __init__(self, settings: ObjectStoreSettings) -> None:
        region = settings.s3_region
        self._bucket = settings.s3_bucket
        self._internal = _client(
            settings.s3_endpoint, settings.s3_access_key, settings.s3_secret_key.get_secret_value(), region
        )
        public = settings.s3_public_endpoint
        self._reader = _client(
            public, settings.s3_reader_access_key, settings.s3_reader_secret_key.get_secret_value(), region
        )
        self._writer = _client(
            public, settings.s3_writer_access_key, settings.s3_writer_secret_key.get_secret_value(), region
        )

    def of(self, bucket: str) -> "ObjectStore":
        """Another bucket of the same store, with the same keys."""
        other = copy.copy(self)
        other._bucket = bucket
        return other

    async def wait(self, deadline_seconds: float) -> None:
        """Waits until the bucket is there, making it if need be; raises what the store last said after the deadline."""
        async for attempt in stamina.retry_context(
            on=(urllib3.exceptions.HTTPError, MinioException), attempts=None, timeout=deadline_seconds, wait_max=2.0
        ):
            with attempt:
                await asyncio.to_thread(self._make_bucket)

    def _make_bucket(self) -> None:
        try:
            if not self._internal.bucket_exists(self._bucket):
                self._internal.make_bucket(self._bucket)
        except S3Error as error:
            if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise

    def read(self, key: str, at_most: int | None = None) -> bytes:
        """All bytes of an object. Blocking: call on a thread. Raises KeyError when there is none, ValueError beyond
        `at_most` bytes."""
        with _answering():
            try:
                response = self._internal.get_object(self._bucket, key)
            except S3Error as error:
                if error.code == "NoSuchKey":
                    raise KeyError(key) from error
                raise
            try:
                data = bytes(response.data if at_most is None else response.read(at_most + 1))
                if at_most is not None and len(data) > at_most:
                    raise ValueError(f"{key} holds more than {at_most} bytes")
                return data
            finally:
                response.close()
                response.release_conn()

    def fetch(self, key: str, path: Path, at_most: int) -> bytes:
        """Writes an object into a file, piece by piece, and returns the SHA-256 of what was written. Blocking: call on
        a thread.

        Raises KeyError when there is none, ValueError beyond `at_most` bytes.
        """
        with _answering():
            try:
                response = self._internal.get_object(self._bucket, key)
            except S3Error as error:
                if error.code == "NoSuchKey":
                    raise KeyError(key) from error
                raise
            digest, size = hashlib.sha256(), 0
            try:
                with path.open("wb") as file:
                    for piece in response.stream(_PIECE_BYTES):
                        size += len(piece)
                        if size > at_most:
                            raise ValueError(f"{key} holds more than {at_most} bytes")
                        digest.update(piece)
                        file.write(piece)
            finally:
                response.close()
                response.release_conn()
        return digest.digest()

    def write(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Stores an object. Blocking: call on a thread."""
        with _answering():
            self._internal.put_object(self._bucket, key, io.BytesIO(data), len(data), content_type)

    def copy(self, source: str, target: str) -> None:
        """Copies within the bucket. Blocking: call on a thread."""
        with _answering():
            self._internal.copy_object(self._bucket, target, CopySource(self._bucket, source))

    def remove(self, keys: Iterable[str]) -> None:
        """Removes objects; absent ones do not matter. Blocking: call on a thread. Raises RuntimeError when the store
        refuses one."""
        with _answering():
            errors = list(self._internal.remove_objects(self._bucket, [DeleteObject(key) for key in keys]))
        if errors:
            raise RuntimeError(f"the object store did not remove {errors[0].name}: {errors[0].message}")

    def stat(self, key: str) -> Stored | None:
        """The object, or None. Blocking: call on a thread."""
        with _answering():
            try:
                found = self._internal.stat_object(self._bucket, key)
            except S3Error as error:
                if error.code in ("NoSuchKey", "NoSuchObject"):
                    return None
                raise
        return Stored(key, found.size or 0)

    def list(self, prefix: str, after: str | None = None) -> Iterator[Stored]:
        """Objects below a prefix, by key, those behind `after`. Blocking: call on a thread."""
        with _answering():
            for item in self._internal.list_objects(self._bucket, prefix=prefix, recursive=True, start_after=after):
                yield Stored(str(item.object_name), item.size or 0)

    def download_url(self, key: str, lifetime: timedelta, *, content_type: str | None = None) -> str:
        """A URL for a plain GET, until `lifetime` has passed. Computed here: no request is made."""
        headers: dict[str, str | list[str] | tuple[str]] | None = (
            {"response-content-type": content_type} if content_type else None
        )
        return self._reader.presigned_get_object(self._bucket, key, expires=lifetime, response_headers=headers)

    def upload_url(self, key: str, lifetime: timedelta) -> str:
        """A URL for a PUT of this key. Computed here: no request is made."""
        return self._writer.presigned_put_object(self._bucket, key, expires=lifetime)
