"""The training process as a child: its environment, orders and end, without torch."""

import asyncio
import errno
import os
import signal
import sys
from pathlib import Path

import pytest
from splitrail_common.concurrency import ended
from splitrail_pod.exchange.messages import CancelOrder, CheckpointRecord, StoredFile
from splitrail_pod.supervisor.network.retry import UnavailableError
from splitrail_pod.supervisor.process import TrainingProcess
from splitrail_pod.supervisor.results.uploads import CheckpointUploader


async def until_reader_waits(fifo: Path) -> int:
    """The writing end, once somebody has opened the other one."""
    async with asyncio.timeout(20):
        while True:
            try:
                return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                await asyncio.sleep(0.05)


async def test_it_gets_no_secrets_and_its_last_words_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITRAIL_NATS_URL", "nats://pod:hunter2@127.0.0.1:1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    fifo = tmp_path / "SPEC.json"  # keeps it waiting in its first read
    os.mkfifo(fifo)
    process = await TrainingProcess.start(fifo, tmp_path / "cache", lambda record: None)
    writer = await until_reader_waits(fifo)
    assert b"hunter2" not in await asyncio.to_thread(Path(f"/proc/{process.pid}/environ").read_bytes)
    assert os.getpgid(process.pid) == process.pid
    os.close(writer)  # and so it reads an empty specification
    assert await process.wait() == 1
    assert process.ended
    assert "SPEC.json" in process.last_lines
    process.order(CancelOrder())  # to one that has ended: nothing happens
    process.kill()
    assert not process.killed


async def test_the_supervisor_imports_no_torch() -> None:
    code = (
        "import sys, splitrail_pod.app; print(sorted({'torch', 'ultralytics', 'cv2', 'matplotlib'} & set(sys.modules)))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert output == b"[]\n"


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from splitrail_common import log
from splitrail_pod.supervisor.process import TrainingProcess

log.configure("test")

async def main():
    process = await TrainingProcess.start(Path(sys.argv[1]), Path(sys.argv[2]), lambda record: None)
    print(process.pid, flush=True)
    await process.wait()

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_it_dies_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    fifo = tmp_path / "SPEC.json"  # keeps it waiting in its first read
    os.mkfifo(fifo)
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SUPERVISOR,
        str(tmp_path / "SPEC.json"),
        str(tmp_path / "cache"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert supervisor.stdout
    child = int(await asyncio.wait_for(supervisor.stdout.readline(), 20))

    try:
        writer = await until_reader_waits(fifo)
        assert alive(child)
    finally:
        supervisor.send_signal(signal.SIGKILL)
        await supervisor.wait()
    async with asyncio.timeout(10):
        while alive(child):  # noqa: ASYNC110 - nothing tells of the end of a grandchild
            await asyncio.sleep(0.05)
    os.close(writer)


def checkpoint(epoch: int) -> CheckpointRecord:
    return CheckpointRecord(
        file=StoredFile(path=Path("/job/x.ckpt"), size_bytes=1, sha256="a" * 64), epoch=epoch, last=False
    )


class SlowUploads:
    """Stands where the object store is: each upload is let through by the test."""

    def __init__(self) -> None:
        self.stored: list[int] = []
        self.gate = asyncio.Semaphore(0)
        self.away = 0

    async def checkpoint_once(self, record: CheckpointRecord) -> None:
        await self.gate.acquire()
        if self.away:
            self.away -= 1
            raise UnavailableError("away")
        self.stored.append(record.epoch)


async def test_only_the_newest_checkpoint_is_uploaded() -> None:
    uploads = SlowUploads()
    uploader = CheckpointUploader(uploads)  # type: ignore[arg-type]
    running = asyncio.create_task(uploader.run())
    uploader.offer(checkpoint(1))
    await asyncio.sleep(0)
    for epoch in (2, 3, 4):
        uploader.offer(checkpoint(epoch))
    uploads.away = 1
    for _ in range(4):
        uploads.gate.release()
    await asyncio.wait_for(uploader.idle(), 10)
    assert uploads.stored[-1] == 4
    assert not {2, 3} & set(uploads.stored)
    await ended(running)


class DroppedUploads:
    """Checkpoints up to `dropped` are no longer on the disk."""

    def __init__(self, dropped: int) -> None:
        self.stored: list[int] = []
        self._dropped = dropped

    async def checkpoint_once(self, record: CheckpointRecord) -> None:
        if record.epoch <= self._dropped:
            raise FileNotFoundError(record.epoch)
        self.stored.append(record.epoch)


async def test_a_checkpoint_that_was_dropped_before_we_heard_of_a_newer_one_is_no_defect() -> None:
    uploads = DroppedUploads(4)
    uploader = CheckpointUploader(uploads)  # type: ignore[arg-type]
    running = asyncio.create_task(uploader.run())
    uploader.offer(checkpoint(4))
    with pytest.raises(FileNotFoundError):  # for whoever must have it stored
        await asyncio.wait_for(uploader.idle(), 10)
    uploader.offer(checkpoint(5))
    await asyncio.wait_for(uploader.idle(), 10)
    assert uploads.stored == [5]
    assert not running.done()
    await ended(running)
