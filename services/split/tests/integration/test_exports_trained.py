"""Ultralytics trains on an exported folder as it is."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .exporting import classified, export, hostile

pytestmark = pytest.mark.integration


ULTRALYTICS = """
import json, sys
import ultralytics.data.utils
ultralytics.data.utils.check_font = lambda font: None  # would look for it on the network
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import YOLODataset
data = ultralytics.data.utils.check_det_dataset("data.yaml", autodownload=False)
seen = {}
for part in ("train", "val", "test"):
    labels = YOLODataset(img_path=data[part], data=data, hyp=get_cfg(), imgsz=64, augment=False).labels
    seen[part] = [len(labels), sum(len(one["cls"]) for one in labels)]
YOLO("yolov8n.yaml").train(
    data="data.yaml", epochs=1, imgsz=32, batch=8, device="cpu", plots=False, workers=0, verbose=False, project=sys.argv[1], name="run"
)
print(json.dumps({"names": list(data["names"].values()), "seen": seen}))
"""


CLASSIFY = """
import json, os, sys
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import ClassificationDataset
from ultralytics.data.utils import check_cls_dataset
data = check_cls_dataset(os.getcwd())
parts = {part: ClassificationDataset(str(data[part]), get_cfg()) for part in ("train", "val", "test")}
YOLO("yolo11n-cls.yaml").train(
    data=os.getcwd(), epochs=1, imgsz=32, batch=8, device="cpu", plots=False, workers=0, verbose=False, project=sys.argv[1], name="run"
)
classes = {part: one.base.classes for part, one in parts.items()}
print(json.dumps({"names": data["names"], "classes": classes, "seen": {part: len(one.samples) for part, one in parts.items()}}))
"""


def ultralytics(program, folder, tmp_path):
    """What a program that ends well prints last."""
    environment = {
        **os.environ,
        "YOLO_CONFIG_DIR": str(tmp_path / "config"),
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "0",
    }
    command = [sys.executable, "-c", program, str(tmp_path / "runs")]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def write(folder: Path, files):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


@pytest.mark.torch
@pytest.mark.parametrize("source", ["plain", "hostile"])
async def test_ultralytics_trains_on_the_folder_as_it_is(api, sources, tmp_path, source):
    version = (await api.bring(sources.yolo(40) if source == "plain" else hostile(sources))).version
    split = await api.split(version.version_id, (0.5, 0.25, 0.25))
    folder = tmp_path / "images" / "exported"  # Ultralytics looks for `images` in paths
    write(folder, (await export(api, split_id=split.split_id)).files)
    found = await asyncio.to_thread(ultralytics, ULTRALYTICS, folder, tmp_path)
    assert found["names"] == list(version.class_names)
    assert list(found["seen"].values()) == [[part.images, part.objects] for part in split.certificate.parts]
    assert (tmp_path / "runs" / "run" / "weights" / "last.pt").is_file()


@pytest.mark.torch
async def test_ultralytics_trains_on_a_tree_of_classes_as_it_is(api, sources, tmp_path):
    version = await classified(api, sources)
    await api.split(version.version_id, (0.5, 0.25, 0.25))
    exported = await export(api, version_id=version.version_id, include_unlabelled=True)
    folder = tmp_path / "exported"
    write(folder, exported.files)
    found = await asyncio.to_thread(ultralytics, CLASSIFY, folder, tmp_path)
    names = sorted(one["folder"] for one in json.loads(exported.files["class_folders.json"])["classes"])
    assert list(found["names"].values()) == names
    assert list(found["classes"].values()) == [names] * 3
    assert found["seen"] == {
        part: sum(path.startswith(f"{part}/") and path.endswith(".jpg") for path in exported.files)
        for part in ("train", "val", "test")
    }
    assert (tmp_path / "runs" / "run" / "weights" / "last.pt").is_file()
