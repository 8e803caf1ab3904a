"""The journey in Python, with splitrail_client. The marked regions stand in docs/clients/python.md."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

import httpx

# [connect]
import splitrail_client

client = splitrail_client.connect()  # SPLITRAIL_URL and SPLITRAIL_TOKEN say where and as whom
# [/connect]

TRAINING = {"epochs": 4, "imgsz": 64, "batch": 8, "seed": 1, "optimizer": "AdamW", "lr0": 0.002, "mosaic": 0}


def main() -> None:
    reference = import_folder(Path(os.environ["JOURNEY_FOLDER"]), os.environ["JOURNEY_DATASET"])
    split = create_split(reference)
    run = create_run(split.reference)
    watch(run)
    fetch_plot(run)
    evaluate(run)
    decode_refusal(split.reference)
    tell(step="done")


def import_folder(folder: Path, name: str) -> str:
    # [import]
    imported = client.import_dataset(folder, name)
    version = imported.version
    # [/import]
    tell(
        step="import",
        dataset_id=version.dataset_id,
        version_id=version.version_id,
        images=imported.report.image_count,
        uploads=imported.uploaded_files,
    )
    return imported.reference


def create_split(reference: str) -> splitrail_client.SplitRevision:
    # [split]
    split = client.split(reference, ratios=(0.7, 0.15, 0.15), seed=42)
    # [/split]
    tell(step="split", split_id=split.split_id, digest=split.digest)
    return split


def create_run(data: str) -> splitrail_client.Run:
    # [run]
    request_id = str(uuid.uuid4())
    first = client.create_run(data=data, model="yolov8n", arguments=TRAINING, request_id=request_id).run
    again = client.create_run(data=data, model="yolov8n", arguments=TRAINING, request_id=request_id).run
    # [/run]
    tell(step="run", run_id=first.run_id, same=first.run_id == again.run_id)
    return first


def watch(run: splitrail_client.Run) -> None:
    interruptions = []
    # [watch]
    for event in client.watch(run, on_interruption=lambda error, seconds: interruptions.append(error)):
        if event.HasField("epoch"):
            tell(step="epoch", epoch=event.epoch.epoch, seq=event.seq)
    # [/watch]
    tell(step="closed", interruptions=len(interruptions))


def fetch_plot(run: splitrail_client.Run) -> None:
    # [plot]
    plot = client.plots(run)[0]
    content = httpx.get(plot.url).raise_for_status().content  # signed: no token goes along
    # [/plot]
    assert len(content) == plot.size_bytes
    tell(step="plot", name=plot.name, bytes=len(content))


def evaluate(run: splitrail_client.Run) -> None:
    # [evaluate]
    evaluation = client.evaluate(run, split="test", request_id=str(uuid.uuid4()))  # follows it to its end
    result = evaluation.result
    # [/evaluate]
    tell(step="evaluation", evaluation_id=evaluation.evaluation_id, images=result.images, mAP50=result.overall["mAP50"])


def decode_refusal(data: str) -> None:
    # [refusal]
    try:
        client.train(data=data, model="yolov8n", epohcs=4)
    except splitrail_client.RefusedError as error:
        tell(step="refusal", code=error.code.name, reason=error.reason, field=error.violations[0].field)
    # [/refusal]


def tell(**line: Any) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
