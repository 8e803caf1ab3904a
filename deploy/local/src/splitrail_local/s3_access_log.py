"""SeaweedFS' access log as JSON lines: `python -m splitrail_local.s3_access_log SOCKET` (a part of the stack; its
output is the log).

weed sends its audit records only to a fluentd, over a socket; told to use JSON, it sends `[tag, time, record, options]`
one after the other. What is written here, a line a request, are the records: `time`, `operation` (REST.GET.OBJECT ...),
`bucket`, `key`, `status`, `requester` (internal, reader, writer), `remote_ip`, `user_agent`, `request_id`,
`error_code`.
"""

import asyncio
import codecs
import json
import signal
import sys
from typing import Any

MAX_PENDING = 1 << 20
"""Characters of an unfinished record after which the sender is taken to speak something else."""


class Records:
    """Cuts a stream of JSON arrays that follow each other without a separator into their records."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._parser = json.JSONDecoder()
        self._pending = ""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The records that `data` completes; ValueError when it is not such a stream."""
        self._pending += self._decode(data)
        records = []
        while self._pending:
            try:
                message, end = self._parser.raw_decode(self._pending)
            except json.JSONDecodeError:
                if len(self._pending) > MAX_PENDING or not self._pending.startswith("["):
                    raise
                break  # the rest of it comes with the next data
            self._pending = self._pending[end:].lstrip()
            records.append(message[2])
        return records


async def _receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    records = Records()
    try:
        while data := await reader.read(65536):
            for record in records.feed(data):
                sys.stdout.write(json.dumps(record, separators=(",", ":")) + "\n")
            sys.stdout.flush()
    except asyncio.CancelledError:
        return  # the loop ends; left to itself, Python 3.11 writes a traceback into the log
    except ValueError as error:
        sys.stderr.write(f"not an audit record, connection dropped: {error}\n")
    finally:
        writer.close()


async def serve(path: str) -> None:
    """Listen on the socket `path` (one left by a kill -9 is replaced) and write records until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with await asyncio.start_unix_server(_receive, path):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
