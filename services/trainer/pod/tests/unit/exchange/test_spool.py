"""The spool survives being cut anywhere."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitrail_pod.exchange.spool import SpoolCorruptError, SpoolLockedError, SpoolReader, SpoolWriter, decode, encode

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(st.text().filter(lambda key: key != "time"), values, max_size=4)


@contextmanager
def fresh() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "spool"


def same(one: Any, other: Any) -> bool:
    """Equality in which NaN equals itself."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def without_time(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "time"} for record in records]


@given(bodies)
def test_a_line_gives_back_its_record(record: dict[str, Any]) -> None:
    line = encode(record)
    assert line.count(b"\n") == 1
    assert same(decode(line[:-1]), record)


def test_nan_and_infinity_are_floats(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path / "spool") as spool:
        spool.append({"nan": math.nan, "up": math.inf, "down": -math.inf})
    (record,) = SpoolReader(tmp_path / "spool").read_new()
    assert math.isnan(record["nan"])
    assert (record["up"], record["down"]) == (math.inf, -math.inf)


@settings(max_examples=60, deadline=None)
@given(st.lists(bodies, min_size=1, max_size=5), st.data())
def test_a_torn_tail_is_truncated_and_nothing_else_is(records: list[dict[str, Any]], data: st.DataObject) -> None:
    with fresh() as path:
        whole = b"".join(encode(record) for record in records)
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        complete = whole[:cut].count(b"\n")
        reader = SpoolReader(path)
        assert same(without_time(reader.read_new()), records[:complete])
        with SpoolWriter(path) as spool:
            assert spool.count == complete
            spool.append({"after": 1}, sync=False)
        assert same(without_time(reader.read_new()), [{"after": 1}])
        assert same(without_time(SpoolReader(path).read_new()), [*records[:complete], {"after": 1}])


@settings(max_examples=60, deadline=None)
@given(st.lists(bodies, min_size=2, max_size=4), st.data())
def test_damage_is_never_returned_as_a_record(records: list[dict[str, Any]], data: st.DataObject) -> None:
    """A flipped bit in the last record is a torn tail; in an earlier one it is an error."""
    with fresh() as path:
        content = bytearray(b"".join(encode(record) for record in records))
        ends = [index for index, byte in enumerate(content) if byte == 0x0A]
        victim = data.draw(st.integers(0, len(records) - 1))
        start = ends[victim - 1] + 1 if victim else 0
        position = data.draw(st.integers(start, ends[victim] - 1))
        content[position] ^= 1
        path.write_bytes(content)
        if victim == len(records) - 1:
            assert same(without_time(SpoolReader(path).read_new()), records[:victim])
            with SpoolWriter(path) as spool:
                assert spool.count == victim
        else:
            with pytest.raises(SpoolCorruptError, match="spool"):
                SpoolReader(path).read_new()
            with pytest.raises(SpoolCorruptError):
                SpoolWriter(path)


@settings(max_examples=40, deadline=None)
@given(st.lists(bodies, max_size=5), st.lists(st.integers(1, 200), max_size=30))
def test_a_reader_sees_each_record_once_however_the_bytes_arrive(records: list[dict[str, Any]], chunks: list[int]) -> None:
    with fresh() as path:
        content = b"".join(encode(record) for record in records)
        reader = SpoolReader(path)
        assert reader.read_new() == []
        got: list[dict[str, Any]] = []
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
        "import sys; from pathlib import Path; from splitrail_pod.exchange.spool import SpoolWriter\n"
        "spool = SpoolWriter(Path(sys.argv[1]))\n"
        "for n in range(10**9):\n"
        "    spool.append({'n': n}, sync=n % 2 == 0); print(n, flush=True)\n"
    )
    path = tmp_path / "spool"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 200:
                process.send_signal(signal.SIGKILL)
                break
        acknowledged = int(line)
        for line in process.stdout:  # what it had still printed
            acknowledged = int(line) if line.endswith("\n") else acknowledged
    with SpoolWriter(path) as spool:
        assert spool.count > acknowledged
    numbers = [record["n"] for record in SpoolReader(path).read_new()]
    assert numbers == list(range(len(numbers)))
