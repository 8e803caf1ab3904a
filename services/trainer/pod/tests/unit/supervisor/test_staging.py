"""Staging from a real gRPC server and a real HTTP server that misbehave in known ways."""

import hashlib
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitrail.internal.split.v1 import staging_service_pb2, staging_service_pb2_grpc
from splitrail.internal.trainer.v1 import job_service_pb2
from splitrail.split.v1 import dataset_pb2, split_pb2
from splitrail_common import digest
from splitrail_common.annotations import Annotation, Kind, box_from_yolo, pack
from splitrail_pod.supervisor.failures import AttemptFailedError, FailureCause, FencedError
from splitrail_pod.supervisor.network.calls import AttemptCalls, Channels
from splitrail_pod.supervisor.network.transfer import Transfer, open_client
from splitrail_pod.supervisor.staging.cache import ContentCache
from splitrail_pod.supervisor.staging.manifest import Entry, Ledger
from splitrail_pod.supervisor.staging.stager import Staged, Stager

TRAIN, VAL, TEST = dataset_pb2.PART_TRAIN, dataset_pb2.PART_VAL, dataset_pb2.PART_TEST


def entry(ordinal: int, part: int = TRAIN, data: bytes | None = None, packed: bytes = b"\x01") -> Entry:
    data = data if data is not None else f"image {ordinal}".encode()
    return Entry(
        ordinal=ordinal,
        part=part,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        extension=".jpg",
        packed_annotations=packed,
    )


def part_digest(entries: list[Entry]) -> str:
    assets = digest.hashes_from_bytes([bytes.fromhex(one.sha256) for one in entries])
    return digest.part_digest(
        assets, digest.hashes_from_bytes([digest.annotation_sha256(one.packed_annotations) for one in entries])
    )


def end_of(entries: list[Entry]) -> staging_service_pb2.ManifestEnd:
    return staging_service_pb2.ManifestEnd(
        class_names=["cell"],
        image_count=len(entries),
        part_digests=split_pb2.PartDigests(
            train=part_digest([one for one in entries if one.part == TRAIN]),
            val=part_digest([one for one in entries if one.part == VAL]),
        ),
    )


@given(
    packed=st.lists(st.tuples(st.sampled_from([TRAIN, VAL]), st.binary(max_size=8)), min_size=1, max_size=12),
    damage=st.sampled_from(["none", "annotation", "part", "missing"]),
    data=st.data(),
)
@settings(deadline=None)
def test_only_the_very_split_passes(packed: list[tuple[int, bytes]], damage: str, data: st.DataObject) -> None:
    entries = [entry(number, part, packed=annotation) for number, (part, annotation) in enumerate(packed)]
    end = end_of(entries)
    victim = data.draw(st.integers(0, len(entries) - 1))
    if damage == "annotation":
        entries[victim].packed_annotations += b"x"
    elif damage == "part":
        entries[victim].part = VAL if entries[victim].part == TRAIN else TRAIN
    elif damage == "missing":
        del entries[victim]
    ledger = Ledger([TRAIN, VAL])
    for one in entries:
        ledger.add(one)
    if damage == "none":
        ledger.verify(end)
    else:
        with pytest.raises(AttemptFailedError) as caught:
            ledger.verify(end)
        assert caught.value.cause == FailureCause.FAILURE_CAUSE_DATA


@pytest.mark.parametrize(
    "bad",
    [
        entry(5, TEST),
        Entry(ordinal=5, part=TRAIN, sha256="../" * 21 + "x", extension=".jpg"),
        Entry(ordinal=5, part=TRAIN, sha256="a" * 64, extension="/../../evil"),
        entry(3),
    ],
    ids=["test image in a training", "hash is a path", "extension is a path", "ordinal repeats"],
)
def test_unsound_entries_are_refused_before_anything_is_fetched(bad: Entry) -> None:
    ledger = Ledger([TRAIN, VAL])
    ledger.add(entry(3))
    with pytest.raises(AttemptFailedError, match="manifest is invalid"):
        ledger.add(bad)


@dataclass
class Place(staging_service_pb2_grpc.StagingServiceServicer):
    """A split service with a manifest and an object store with bytes, both on loopback. Faults are taken one by one."""

    entries: list[Entry]
    end: staging_service_pb2.ManifestEnd
    objects: dict[str, bytes]
    break_after: list[int] = field(default_factory=list)
    """Break the next streams off after so many messages, with UNAVAILABLE."""
    answers: dict[str, list[int]] = field(default_factory=dict)
    """HTTP statuses for the next requests of a path instead of the bytes."""
    code: grpc.StatusCode | None = None
    asked: list[int | None] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    http: str = ""

    async def StreamManifest(self, request, context):
        after = request.after_ordinal if request.HasField("after_ordinal") else None
        self.asked.append(after)
        if self.code:
            await context.abort(self.code, "refused by the test")
        rest = [one for one in self.entries if after is None or one.ordinal > after]
        limit = self.break_after.pop(0) if self.break_after else None
        for sent, one in enumerate(rest):
            if sent == limit:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken off by the test")
            copy = Entry()
            copy.CopyFrom(one)
            copy.url = f"{self.http}/{one.sha256}?signed={len(self.asked)}"
            yield staging_service_pb2.StreamManifestResponse(entries=[copy])
        yield staging_service_pb2.StreamManifestResponse(end=self.end)


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[AttemptCalls]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].strip("/")
            place.requests.append(self.path)
            queue = place.answers.get(path)
            status = queue.pop(0) if queue else 200
            body = place.objects[path] if status == 200 else b"no"
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            del arguments

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    place.http = f"http://127.0.0.1:{http.server_port}"
    server = grpc.aio.server()
    staging_service_pb2_grpc.add_StagingServiceServicer_to_server(place, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield AttemptCalls(
            Channels(channel, channel, channel), job_service_pb2.ClaimedJob(job_id="job", attempt=1, attempt_token="t")
        )
    finally:
        await channel.close()
        await server.stop(None)
        http.shutdown()
        http.server_close()


def place_with(count: int = 12) -> Place:
    entries = [
        entry(number, VAL if number % 4 == 3 else TRAIN, packed=pack([box_from_yolo(number, 0.5, 0.5, 0.25, 0.1)]))
        for number in range(count)
    ]
    return Place(entries, end_of(entries), {one.sha256: f"image {one.ordinal}".encode() for one in entries})


async def staged(place: Place, folder: Path, patience: float = 20.0) -> Staged:
    async with running(place) as calls, open_client(4) as client:
        cache = ContentCache(folder / "cache", 10**6)
        stager = Stager(
            calls, Transfer(client, patience), cache, folder / "work", concurrency=4, patience_seconds=patience
        )
        return await stager.stage("split", [TRAIN, VAL])


def check_layout(folder: Path, place: Place) -> None:
    for one in place.entries:
        part = {TRAIN: "train", VAL: "val"}[one.part]
        image = folder / "work" / "data" / "images" / part / f"{one.ordinal:08d}.jpg"
        assert image.read_bytes() == place.objects[one.sha256]
        assert stat.S_IMODE(image.stat().st_mode) == 0o444
        label = (folder / "work" / "data" / "labels" / part / f"{one.ordinal:08d}.txt").read_text()
        assert label == f"{one.ordinal} 0.500000 0.500000 0.250000 0.100000\n", "what the digest covers"


async def test_everything_lies_where_the_training_process_looks_for_it(tmp_path: Path) -> None:
    place = place_with()
    result = await staged(place, tmp_path)
    assert result == Staged(("cell",), {"train": 9, "val": 3})
    check_layout(tmp_path, place)
    requests = len(place.requests)
    await staged(place, tmp_path)
    assert len(place.requests) == requests == 12, "the second time everything comes from the cache"


async def test_a_manifest_that_breaks_off_goes_on_after_the_last_ordinal(tmp_path: Path) -> None:
    place = place_with()
    place.break_after = [5, 0, 3]
    await staged(place, tmp_path)
    assert place.asked == [None, 4, 4, 7]
    check_layout(tmp_path, place)


async def test_an_expired_url_is_signed_again_and_an_outage_is_waited_for(tmp_path: Path) -> None:
    place = place_with()
    place.answers = {place.entries[2].sha256: [403], place.entries[7].sha256: [503, 503]}
    await staged(place, tmp_path)
    assert 1 in place.asked, "the URL of ordinal 2 was asked for again"
    check_layout(tmp_path, place)


async def test_other_bytes_than_announced_fail_as_data(tmp_path: Path) -> None:
    place = place_with()
    place.objects[place.entries[6].sha256] = b"image 9"
    with pytest.raises(AttemptFailedError, match="image 6 cannot be fetched") as caught:
        await staged(place, tmp_path)
    assert caught.value.cause == FailureCause.FAILURE_CAUSE_DATA
    assert not list((tmp_path / "cache").glob("*.partial"))


@pytest.mark.parametrize(
    "packed",
    [b"", b"\x01\x00", pack([Annotation(0, Kind.POLYGON, (1, 2, 3, 4, 5, 6))])],
    ids=["nothing", "cut off", "polygon"],
)
async def test_annotations_that_are_no_boxes_fail_as_data(tmp_path: Path, packed: bytes) -> None:
    place = place_with()
    place.entries[6].packed_annotations = packed
    with pytest.raises(AttemptFailedError, match="image 6") as caught:
        await staged(place, tmp_path)
    assert caught.value.cause == FailureCause.FAILURE_CAUSE_DATA


async def test_a_store_that_stays_away_fails_as_dependency(tmp_path: Path) -> None:
    place = place_with()
    place.answers = {place.entries[0].sha256: [503] * 100}
    with pytest.raises(AttemptFailedError) as caught:
        await staged(place, tmp_path, patience=0.5)
    assert caught.value.cause == FailureCause.FAILURE_CAUSE_DEPENDENCY
    assert "signed=" not in str(caught.value)


async def test_fenced_while_staging(tmp_path: Path) -> None:
    place = place_with()
    place.code = grpc.StatusCode.ABORTED
    with pytest.raises(FencedError):
        await staged(place, tmp_path)
