"""A packed checkpoint is whole, or it is refused."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitrail_pod.exchange.checkpoint import CheckpointError, pack, read_manifest, unpack
from splitrail_pod.exchange.messages import EpochRecord

HISTORY = [
    EpochRecord(
        epoch=epoch,
        epochs=2,
        values={"train/box_loss": math.nan},
        fitness=0.1,
        best_fitness=0.1,
        epoch_seconds=1.5,
        elapsed_seconds=3.0,
        last=False,
    )
    for epoch in (1, 2)
]


RAW = [json.loads(record.encode()) for record in HISTORY]


def packed(
    folder: Path, *, best: bytes | None = b"best weights", best_is_last: bool = False, final: bool = False
) -> Path:
    (folder / "last").write_bytes(b"last weights" * 1000)
    if best is not None:
        (folder / "best").write_bytes(best)
    target = folder / "epoch-000002.ckpt"
    result = pack(
        target,
        last=folder / "last",
        best=folder / "best" if best is not None else None,
        best_is_last=best_is_last,
        history=HISTORY,
        final=final,
    )
    content = target.read_bytes()
    assert (result.size_bytes, result.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert [path.name for path in folder.glob("epoch-*")] == [target.name]
    return target


def test_unpack_gives_back_what_was_packed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    manifest = unpack(packed(tmp_path, final=True), tmp_path / "out")
    assert (manifest.epoch, manifest.last, manifest.best) == (2, True, "best.pt")
    assert manifest.history[1].epoch == 2
    assert math.isnan(manifest.history[0].values["train/box_loss"])
    assert (tmp_path / "out" / "last.pt").read_bytes() == b"last weights" * 1000
    assert (tmp_path / "out" / "best.pt").read_bytes() == b"best weights"


def test_the_best_weights_are_stored_once(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    path = packed(tmp_path, best_is_last=True)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["manifest.json", "last.pt"]
    unpack(path, tmp_path / "out")
    assert (tmp_path / "out" / "best.pt").read_bytes() == b"last weights" * 1000


def test_without_best_weights_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert unpack(packed(tmp_path, best=None), tmp_path / "out").best is None
    assert not (tmp_path / "out" / "best.pt").exists()


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_truncated_or_damaged_checkpoint_is_refused(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "out").mkdir()
        path = packed(folder)
        content = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            content = content[: data.draw(st.integers(0, len(content) - 1))]
        else:
            member = content.index(b"last weights")
            content[data.draw(st.integers(member, member + 11999))] ^= 1
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"epoch-000002\.ckpt"):
            unpack(path, folder / "out")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"epoch": 3},
        {"epoch": 10**15},
        {"history": [RAW[1]]},
        {"history": [{"kind": "epoch", "epoch": epoch} for epoch in (1, 2)]},
        {"history": "none"},
        {"best": "../../etc/passwd"},
        {"epoch": "two"},
    ],
)
def test_a_manifest_that_does_not_hold_together_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    manifest = {"format": 1, "epoch": 2, "last": False, "best": None, "history": RAW} | change
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr("last.pt", b"")
    with pytest.raises(CheckpointError):
        read_manifest(tmp_path / "x.ckpt")


def test_a_compressed_member_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "manifest.json", json.dumps({"format": 1, "epoch": 2, "last": False, "best": None, "history": RAW})
        )
        archive.writestr("last.pt", b"\0" * (1 << 20))
    with pytest.raises(CheckpointError, match="compressed"):
        unpack(tmp_path / "x.ckpt", tmp_path)
