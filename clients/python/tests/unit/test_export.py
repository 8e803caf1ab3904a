"""An export writes what it is told, within its folder, once; and goes on wherever it was broken off."""

import asyncio
import hashlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import grpc
import pytest
from splitrail.split.v1 import export_service_pb2 as pb
from splitrail.split.v1 import export_service_pb2_grpc
from splitrail_client.channel import Channel
from splitrail_client.connection import Connection
from splitrail_client.errors import SplitrailError, UnreachableError, UsageError
from splitrail_client.export import LOCK_FILE, Export
from splitrail_client.watching import RetryPolicy

IMAGES = 30
PER_MESSAGE = 7


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def here(path, data):
    return pb.ExportFile(path=path, sha256=sha256(data), size_bytes=len(data), data=data)


@dataclass
class Exporter(export_service_pb2_grpc.ExportServiceServicer):
    """Serves an export of IMAGES images; over HTTP, their bytes. `answers` are the status codes of the next GETs."""

    lock: bytes = b'{"lock": 1}'
    requests: list[pb.ExportVersionRequest] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    """For each opening of the stream, after how many messages it breaks."""
    answers: list[int] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    """Path -> how often its bytes are not right."""
    fetched: list[str] = field(default_factory=list)
    extra: list[pb.ExportFile] = field(default_factory=list)
    file_count: int = 0
    port: int = 0

    def image(self, ordinal):
        return bytes([ordinal]) * (1000 + ordinal)

    def whole(self):
        """Every file of the export, by path."""
        images = {f"images/train/{ordinal}.jpg": self.image(ordinal) for ordinal in range(IMAGES)}
        labels = {f"labels/train/{ordinal}.txt": b"0 0.5 0.5 0.1 0.1\n" for ordinal in range(IMAGES)}
        return {LOCK_FILE: self.lock, **images, **labels, "big.json": b"x" * 5000, "data.yaml": b"names: {}\n"}

    async def ExportVersion(self, request, context):
        self.requests.append(pb.ExportVersionRequest.FromString(request.SerializeToString()))
        left = self.breaks.pop(0) if self.breaks else 1000
        for message in self.messages(request.after_ordinal if request.HasField("after_ordinal") else -1):
            if left == 0:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
            left -= 1
            yield message

    def messages(self, after):
        yield pb.ExportVersionResponse(
            start=pb.ExportStart(reference="cells@v1#1", version_id="v", split_id="s", image_count=IMAGES)
        )
        files, cursor = [here(LOCK_FILE, self.lock)], None
        for ordinal in range(after + 1, IMAGES):
            data, path = self.image(ordinal), f"images/train/{ordinal}.jpg"
            url = f"http://127.0.0.1:{self.port}/{ordinal}"
            files += [
                pb.ExportFile(path=path, sha256=sha256(data), size_bytes=len(data), url=url),
                here(f"labels/train/{ordinal}.txt", b"0 0.5 0.5 0.1 0.1\n"),
            ]
            cursor = ordinal
            if ordinal % PER_MESSAGE == 0:
                yield pb.ExportVersionResponse(files=files, cursor=cursor)
                files = []
        if files:
            yield pb.ExportVersionResponse(files=files, cursor=cursor)
        big = self.whole()["big.json"]
        yield pb.ExportVersionResponse(
            files=[pb.ExportFile(path="big.json", data=big[:2000], more=True)], cursor=cursor
        )
        yield pb.ExportVersionResponse(
            files=[pb.ExportFile(path="big.json", data=big[2000:4000], more=True)], cursor=cursor
        )
        last = pb.ExportFile(path="big.json", data=big[4000:], sha256=sha256(big), size_bytes=len(big))
        yield pb.ExportVersionResponse(files=[last, here("data.yaml", b"names: {}\n"), *self.extra], cursor=cursor)
        yield pb.ExportVersionResponse(
            end=pb.ExportEnd(file_count=self.file_count or len(self.whole()), image_count=IMAGES)
        )

    async def serve_get(self, reader, writer):
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                name = (await reader.readuntil(b"\r\n\r\n")).decode().split()[1].removeprefix("/")
                status = self.answers.pop(0) if self.answers else 200
                body = self.image(int(name)) if status == 200 else b""
                if status == 200 and self.wrong[name]:
                    self.wrong[name] -= 1
                    body = bytes(len(body))
                self.fetched.append(name)
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        writer.close()


@pytest.fixture
async def exporter():
    made = Exporter()
    server = grpc.aio.server()
    export_service_pb2_grpc.add_ExportServiceServicer_to_server(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    gets = await asyncio.start_server(made.serve_get, "127.0.0.1", 0)
    made.port = gets.sockets[0].getsockname()[1]
    made.channel = Channel(Connection(f"http://127.0.0.1:{port}", "secret", "test"))
    yield made
    await made.channel.close()
    gets.close()
    await server.stop(None)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(
        "splitrail_client.export._POLICY", RetryPolicy(give_up=0.3, first_pause=0.01, longest_pause=0.05)
    )
    monkeypatch.setattr("splitrail_client.export._TRIES", 2)


def export(exporter, folder, report=lambda _: None):
    return Export(exporter.channel, pb.ExportVersionRequest(version_id="v"), folder, report)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_folder_is_written_and_found_complete(exporter, tmp_path):
    folder, reports = tmp_path / "a" / "b", []
    done = await export(exporter, folder, reports.append).run()
    assert contents(folder) == exporter.whole()
    assert not (folder / ".splitrail-export").exists()
    assert (done.reference, done.written_files, done.end.image_count) == ("cells@v1#1", len(exporter.whole()), IMAGES)
    assert done.written_bytes == sum(map(len, exporter.whole().values()))
    assert [(item.done, item.total) for item in reports] == [(number, IMAGES) for number in range(1, IMAGES + 1)]
    again = await export(exporter, folder).run()
    assert (again.written_files, len(exporter.fetched)) == (0, IMAGES)


async def test_what_was_changed_or_lost_is_put_right(exporter, tmp_path):
    await export(exporter, tmp_path / "x").run()
    (tmp_path / "x" / "images" / "train" / "3.jpg").write_bytes(bytes(1003))
    (tmp_path / "x" / "labels" / "train" / "4.txt").write_bytes(b"0 0.5 0.5 0.1 0.2\n")
    (tmp_path / "x" / "big.json").unlink()
    assert (await export(exporter, tmp_path / "x").run()).written_files == 3
    assert contents(tmp_path / "x") == exporter.whole()


async def test_an_export_that_was_cut_off_fetches_the_rest_only(exporter, tmp_path, monkeypatch):
    monkeypatch.setattr("splitrail_client.export.DOWNLOADS_AT_ONCE", 1)
    folder, reached = tmp_path / "x", asyncio.Event()
    cut = asyncio.create_task(
        export(exporter, folder, lambda progress: reached.set() if progress.done == 12 else None).run()
    )
    await asyncio.wait_for(reached.wait(), 20)
    cut.cancel()
    with suppress(asyncio.CancelledError):
        await cut
    assert "data.yaml" not in contents(folder)  # what is not complete does not look as if it were
    there = {path for path in contents(folder) if path.startswith("images/")}
    assert 12 <= len(there) < IMAGES
    (folder / ".splitrail-export").mkdir()
    (folder / ".splitrail-export" / "7").write_bytes(b"left by one that was killed")
    exporter.fetched.clear()
    await export(exporter, folder).run()
    assert len(exporter.fetched) == IMAGES - len(there)
    assert contents(folder) == exporter.whole()


async def test_a_broken_stream_goes_on_from_its_cursor(exporter, tmp_path):
    exporter.breaks = [3, 0, 2, 6, 2]
    done = await export(exporter, tmp_path / "x").run()
    assert contents(tmp_path / "x") == exporter.whole()
    assert (done.end.file_count, done.written_files) == (len(exporter.whole()), len(exporter.whole()))
    cursors = [request.after_ordinal if request.HasField("after_ordinal") else None for request in exporter.requests]
    assert cursors == [None, 7, 7, 14, 29, 29]
    assert Counter(exporter.fetched).most_common(1)[0][1] == 1


async def test_an_address_that_has_ended_is_replaced(exporter, tmp_path):
    exporter.answers = [200, 403, 503]
    await export(exporter, tmp_path / "x").run()
    assert len(exporter.requests) == 2
    assert contents(tmp_path / "x") == exporter.whole()


async def test_wrong_bytes_are_never_kept(exporter, tmp_path, impatient):
    exporter.wrong["5"] = 1
    await export(exporter, tmp_path / "x").run()
    assert contents(tmp_path / "x") == exporter.whole()
    exporter.wrong["6"] = 1000
    with pytest.raises(UnreachableError, match=r"images/train/6\.jpg: its bytes do not have the hash"):
        await export(exporter, tmp_path / "y").run()
    assert "images/train/6.jpg" not in contents(tmp_path / "y")


async def test_a_service_that_stays_away_is_unreachable(exporter, tmp_path, impatient):
    exporter.breaks = [0] * 1000
    with pytest.raises(UnreachableError):
        await export(exporter, tmp_path / "x").run()
    assert not (tmp_path / "x").exists()


async def test_folders_of_others_are_left_alone(exporter, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        await export(exporter, tmp_path / "mine").run()
    assert contents(tmp_path / "mine") == {"thesis.tex": b"x"}
    await export(exporter, tmp_path / "x").run()
    exporter.lock = b'{"lock": 2}'
    with pytest.raises(UsageError, match="another export"):
        await export(exporter, tmp_path / "x").run()
    with pytest.raises(UsageError, match="not a folder"):
        await export(exporter, tmp_path / "x" / "data.yaml").run()
    with pytest.raises(UsageError, match="cannot be written"):
        await export(exporter, tmp_path / "x" / "data.yaml" / "below").run()


@pytest.mark.parametrize(
    "path",
    ["../out.txt", "/out.txt", "a/../../out.txt", "a//b", "", ".", "a\\b", "C:out", "a\0b", ".splitrail-export/0"],
)
async def test_a_path_out_of_the_folder_is_not_followed(exporter, tmp_path, path):
    exporter.extra = [here(path, b"got out")]
    with pytest.raises(SplitrailError, match="not a path within the folder"):
        await export(exporter, tmp_path / "x").run()
    assert set(contents(tmp_path)) == {f"x/{name}" for name in exporter.whole()}


async def test_a_stream_that_is_not_what_it_says_is_an_error(exporter, tmp_path):
    exporter.file_count = 12
    with pytest.raises(SplitrailError, match="counts 12"):
        await export(exporter, tmp_path / "x").run()
    exporter.extra = [pb.ExportFile(path="a.txt", data=b"abc", sha256=sha256(b"abd"), size_bytes=3)]
    with pytest.raises(SplitrailError, match=r"a\.txt does not have the hash"):
        await export(exporter, tmp_path / "y").run()
    pieces = [
        pb.ExportFile(path="a.txt", data=b"ab", more=True),
        pb.ExportFile(path="a.txt", data=b"c", sha256=sha256(b"abd"), size_bytes=3),
    ]
    exporter.extra = pieces
    with pytest.raises(SplitrailError, match=r"a\.txt does not have the hash"):
        await export(exporter, tmp_path / "z").run()
