"""The spool survives being cut anywhere."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitrail_pod.exchange.messages import (
    DeviceInfo,
    EpochRecord,
    LogRecord,
    Message,
    Record,
    StartedRecord,
    decode_record,
)
from splitrail_pod.exchange.spool import (
    SpoolCorruptError,
    SpoolLockedError,
    SpoolReader,
    SpoolWriter,
    UnknownRecordError,
    decode_line,
    encode_line,
)

AFTER = LogRecord(level="info", text="after")
numbers = st.floats()
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | numbers | st.text()
arguments = st.dictionaries(st.text(), scalars | st.lists(scalars, max_size=3), max_size=4)
names = st.dictionaries(st.text(), st.text(), max_size=3)
any_record = st.one_of(
    st.builds(LogRecord, time=numbers, level=st.sampled_from(["info", "warning", "error"]), text=st.text()),
    st.builds(
        EpochRecord,
        time=numbers,
        values=st.dictionaries(st.text(), numbers, max_size=4),
        fitness=numbers,
        best_fitness=numbers,
        epoch_seconds=numbers,
    ),
    st.builds(StartedRecord, time=numbers, effective=arguments, versions=names, device=st.builds(DeviceInfo)),
)


@contextmanager
def fresh() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "spool"


def same(read: list[Record], written: Sequence[Message]) -> bool:
    """Equality of records in which NaN equals itself and 1 is not 1.0."""
    return [repr(one) for one in read] == [repr(one) for one in written]


def line(record: Message) -> bytes:
    return encode_line(record.encode())


@given(any_record)
def test_a_line_gives_back_its_record(record: Record) -> None:
    written = line(record)
    assert written.count(b"\n") == 1
    body = decode_line(written[:-1])
    assert body is not None
    assert same([decode_record(body)], [record])


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"kind":"export","time":1}', "'export'"),
        (b'{"time":1}', "'kind'"),
        (b'{"kind":"log","level":"info","text":"x","colour":"red"}', "log.colour"),
        (b'{"kind":"log","level":"loud","text":"x"}', "log.level"),
        (b'{"kind":"checkpoint","epoch":"1","last":false}', "checkpoint.epoch"),
        (b'{"kind":"final","values":{"a":"0.5"},"best_epoch":1,"per_class":[]}', "final.values.a"),
        (b"[]", "object"),
        (b"{", "JSON"),
    ],
)
def test_a_sound_line_that_is_no_record_is_refused_by_name(tmp_path: Path, body: bytes, named: str) -> None:
    (tmp_path / "spool").write_bytes(encode_line(body))
    with pytest.raises(UnknownRecordError, match=named):
        SpoolReader(tmp_path / "spool").read_new()


@settings(max_examples=60, deadline=None)
@given(st.lists(any_record, min_size=1, max_size=5), st.data())
def test_a_torn_tail_is_truncated_and_nothing_else_is(records: list[Record], data: st.DataObject) -> None:
    with fresh() as path:
        whole = b"".join(line(record) for record in records)
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        complete = whole[:cut].count(b"\n")
        reader = SpoolReader(path)
        assert same(reader.read_new(), records[:complete])
        with SpoolWriter(path) as spool:
            assert spool.count == complete
            spool.append(AFTER, sync=False)
        assert same(reader.read_new(), [AFTER])
        assert same(SpoolReader(path).read_new(), [*records[:complete], AFTER])


@settings(max_examples=60, deadline=None)
@given(st.lists(any_record, min_size=2, max_size=4), st.data())
def test_damage_is_never_returned_as_a_record(records: list[Record], data: st.DataObject) -> None:
    """A flipped bit in the last record is a torn tail; in an earlier one it is an error."""
    with fresh() as path:
        content = bytearray(b"".join(line(record) for record in records))
        ends = [index for index, byte in enumerate(content) if byte == 0x0A]
        victim = data.draw(st.integers(0, len(records) - 1))
        start = ends[victim - 1] + 1 if victim else 0
        position = data.draw(st.integers(start, ends[victim] - 1))
        content[position] ^= 1
        path.write_bytes(content)
        if victim == len(records) - 1:
            assert same(SpoolReader(path).read_new(), records[:victim])
            with SpoolWriter(path) as spool:
                assert spool.count == victim
        else:
            with pytest.raises(SpoolCorruptError, match="spool"):
                SpoolReader(path).read_new()
            with pytest.raises(SpoolCorruptError):
                SpoolWriter(path)


@settings(max_examples=40, deadline=None)
@given(st.lists(any_record, max_size=5), st.lists(st.integers(1, 200), max_size=30))
def test_a_reader_sees_each_record_once_however_the_bytes_arrive(records: list[Record], chunks: list[int]) -> None:
    with fresh() as path:
        content = b"".join(line(record) for record in records)
        reader = SpoolReader(path)
        assert reader.read_new() == []
        got: list[Record] = []
        with path.open("wb") as file:
            for chunk in [*chunks, len(content)]:
                file.write(content[:chunk])
                file.flush()
                content = content[chunk:]
                got += reader.read_new()
        assert same(got, records)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path / "spool"), pytest.raises(SpoolLockedError, match="another process"):
        SpoolWriter(tmp_path / "spool")


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from splitrail_pod.exchange.messages import LogRecord\n"
        "from splitrail_pod.exchange.spool import SpoolWriter\n"
        "spool = SpoolWriter(Path(sys.argv[1]))\n"
        "for n in range(10**9):\n"
        "    spool.append(LogRecord(level='info', text=str(n)), sync=n % 2 == 0); print(n, flush=True)\n"
    )
    path = tmp_path / "spool"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for printed in process.stdout:
            if int(printed) >= 200:
                process.send_signal(signal.SIGKILL)
                break
        acknowledged = int(printed)
        for left in process.stdout:  # what it had still printed
            acknowledged = int(left) if left.endswith("\n") else acknowledged
    with SpoolWriter(path) as spool:
        assert spool.count > acknowledged
    texts = [record.text for record in SpoolReader(path).read_new() if isinstance(record, LogRecord)]
    assert texts == [str(number) for number in range(spool.count)]
