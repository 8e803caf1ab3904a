"""An object store that cannot at the moment, whatever words it finds for that, is UNAVAILABLE; what it refuses for good
is not."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
from minio.error import S3Error
from splitrail_common.errors import PlatformError
from splitrail_common.objects import ObjectStore
from splitrail_common.settings import ObjectStoreSettings

FAILURE = b"<Error><Code>InternalError</Code><Message>a disk is full</Message></Error>"
REFUSAL = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"


class Store(ThreadingHTTPServer):
    """Answers every request alike."""

    answer: tuple[int, str, bytes]


class Handler(BaseHTTPRequestHandler):
    server: Store

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def do_GET(self) -> None:
        status, kind, body = self.server.answer
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def objects(store: Store) -> ObjectStore:
    address = f"http://127.0.0.1:{store.server_address[1]}"
    keys = {f"s3_{who}access_key": f"{who}key" for who in ("", "reader_", "writer_")}
    keys |= {f"s3_{who}secret_key": f"{who}secret" for who in ("", "reader_", "writer_")}
    addresses = {"listen": "127.0.0.1:0", "s3_endpoint": address, "s3_public_endpoint": "https://files.example.org"}
    return ObjectStore(ObjectStoreSettings(jwks_file=Path("none"), **addresses, **keys))


@pytest.mark.parametrize(
    "answer",
    [(503, "text/html", b"<h1>busy</h1>"), (500, "application/xml", FAILURE), (507, "application/xml", FAILURE)],
)
def test_a_store_that_cannot_is_unavailable(store, answer):
    store.answer = answer
    for request in (lambda: objects(store).remove(["a"]), lambda: objects(store).read("a")):
        with pytest.raises(PlatformError) as caught:
            request()
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def test_a_refusal_is_none(store):
    store.answer = (403, "application/xml", REFUSAL)
    with pytest.raises(S3Error, match="AccessDenied"):
        objects(store).read("a")


def test_urls_are_signed_for_the_public_endpoint_with_keys_that_can_do_no_more_than_needed(store):
    signed = {
        "reader_key": objects(store).download_url("projects/p/a", timedelta(minutes=5)),
        "writer_key": objects(store).upload_url("staging/p/a", timedelta(minutes=5)),
    }
    for key, url in signed.items():
        parts = urlsplit(url)
        assert (parts.scheme, parts.netloc) == ("https", "files.example.org")
        (credential,) = parse_qs(parts.query)["X-Amz-Credential"]
        assert credential.partition("/")[0] == key
