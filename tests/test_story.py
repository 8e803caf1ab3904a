"""The main job with real Ultralytics through the gateway, with the pod killed (-9) mid-training."""

import csv
import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any

import httpx
import pytest
from main_job import ARGUMENTS, EPOCHS, Command, Story, assets_in, fetched_assets, history
from splitrail_local.testing import RunningStack

pytestmark = [pytest.mark.story, pytest.mark.integration]


def effective(messages: list[dict[str, Any]]) -> list[int]:
    """Epochs that a watcher holds at the end, after it has dropped what `rolled_back` voided."""
    seen: list[int] = []
    for message in messages:
        event = message.get("event", {})
        if "epoch" in event:
            seen.append(event["epoch"]["epoch"])
        elif "rolledBack" in event:
            seen = [epoch for epoch in seen if epoch <= event["rolledBack"].get("epoch", 0)]
    return seen


def test_the_pod_was_killed_and_another_attempt_finished(story: Story, stack: RunningStack):
    assert stack.pid("pod") not in (0, story.killed_pid)
    assert story.run["job"]["attempt"] >= 2
    assert story.run["job"]["state"] == "JOB_STATE_SUCCEEDED"


def test_each_epoch_is_seen_once_and_in_order(story: Story, api: httpx.Client):
    expected = list(range(1, EPOCHS + 1))
    assert effective(story.watched) == expected
    assert [epoch["epoch"] for epoch in history(api, story.run["runId"])] == expected


def test_the_feed_is_gapless_and_closed(story: Story):
    sequence = [int(message["event"]["seq"]) for message in story.watched if "event" in message]
    assert sequence == list(range(1, len(sequence) + 1))
    assert story.watched[-1]["closed"]["reason"] == "CLOSED_REASON_ENDED"


def test_a_late_watcher_sees_the_same(story: Story, command: Command):
    lines = command.run("run", "watch", story.run["runId"], "-o", "json").stdout.splitlines()
    assert effective([json.loads(line) for line in lines]) == list(range(1, EPOCHS + 1))


def test_normalized_values_equal_results_csv(story: Story, api: httpx.Client):
    artifacts = api.get(f"/api/runs/{story.run['runId']}/artifacts").json()["artifacts"]
    (url,) = [item["url"] for item in artifacts if item["kind"] == "ARTIFACT_KIND_RESULTS"]
    rows = list(csv.DictReader(io.StringIO(httpx.get(url).raise_for_status().text)))
    epochs = history(api, story.run["runId"])
    assert len(rows) == len(epochs) == EPOCHS
    keys = {
        "train_box_loss": "train/box_loss",
        "train_cls_loss": "train/cls_loss",
        "train_dfl_loss": "train/dfl_loss",
        "val_box_loss": "val/box_loss",
        "val_cls_loss": "val/cls_loss",
        "val_dfl_loss": "val/dfl_loss",
        "precision": "metrics/precision(B)",
        "recall": "metrics/recall(B)",
        "mAP50": "metrics/mAP50(B)",
        "mAP50_95": "metrics/mAP50-95(B)",
        "lr": "lr/pg0",
    }
    for row, epoch in zip(rows, epochs, strict=True):
        assert int(row["epoch"]) == epoch["epoch"]
        for canonical, raw in keys.items():
            value = epoch["metrics"][canonical]
            assert printed(row[raw], float(value)), f"epoch {epoch['epoch']}: {canonical} {value} is not {row[raw]}"


def printed(text: str, value: float) -> bool:
    """True when `value`, rounded to as many digits as `text` shows, is the number in `text`."""
    shown = float(text)
    if not math.isfinite(shown):
        return str(shown) == str(value)
    mantissa, _, exponent = text.lower().partition("e")
    digits = len(mantissa.partition(".")[2]) - int(exponent or 0)
    return abs(shown - value) <= 0.5000001 * 10.0 ** -max(digits, 0)


def digests(folder: Path) -> set[str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_no_byte_of_the_test_split_reached_training(story: Story, stack: RunningStack, api: httpx.Client):
    """Nothing below the pod's training cache is a test image, and S3 served none to anybody before the evaluation was
    asked for.
    """
    run = story.run
    base = f"/api/datasets/{run['datasetId']}/versions/{run['versionId']}/assets"
    parts = {
        part: {
            asset["sha256"]
            for asset in api.get(base, params={"split": part, "page_size": 1000, "split_id": run["splitId"]}).json()[
                "assets"
            ]
        }
        for part in ("train", "val", "test")
    }
    assert all(parts.values())
    cached = digests(stack.state.pod / "cache" / "train")
    assert parts["train"] | parts["val"] <= cached
    assert not parts["test"] & cached
    assert parts["train"] | parts["val"] == story.staged_for_training
    assert parts["test"] <= fetched_assets(stack), "the evaluation did fetch it"


def test_a_half_written_line_of_the_access_log_is_left_for_later():
    fetched = [
        {"operation": "REST.GET.OBJECT", "requester": "reader", "key": f"projects/default/assets/{name}"}
        for name in "ab"
    ]
    whole = "".join(json.dumps(record) + "\n" for record in fetched)
    assert [assets_in(whole[:end]) for end in (0, 10, len(whole) - 20, len(whole) - 1, len(whole))] == [
        set(),
        set(),
        {"a"},
        {"a"},
        {"a", "b"},
    ]


def test_what_a_run_trained_on_is_recorded(story: Story, api: httpx.Client):
    run = story.run
    split = api.get(f"/api/splits/{run['splitId']}").json()["split"]
    assert (run["splitDigest"], run["versionId"]) == (split["digest"], split["versionId"])
    shown = api.get(f"/api/runs/{run['runId']}/metrics").json()["split"]
    assert (shown["splitId"], shown["reference"], shown["digest"]) == (
        run["splitId"],
        run["splitReference"],
        run["splitDigest"],
    )
    assert (shown["datasetId"], shown["versionId"]) == (run["datasetId"], run["versionId"])
    assert run["arguments"]["lr0"] == 0.002
    assert run["resolvedArguments"]["seed"] == 0
    assert {"ultralytics", "torch", "python", "splitrail"} <= set(run["versions"])
    effective = [
        message["event"]["effectiveArguments"]
        for message in story.watched
        if "effectiveArguments" in message.get("event", {})
    ]
    assert effective[-1]["arguments"]["optimizer"] == "AdamW"


def test_the_evaluation_names_its_split(story: Story):
    evaluation = story.evaluation
    assert evaluation["part"] == "PART_TEST"
    assert 0 < evaluation["result"]["overall"]["mAP50"] <= 1
    assert {item["className"] for item in evaluation["result"]["classes"]}
    assert evaluation["contaminatedImages"] == 0


def test_plots_open_with_a_plain_get_and_expire(story: Story, command: Command, api: httpx.Client):
    plots = command.json("run", "plots", story.run["reference"])
    names = {plot["name"] for plot in plots}
    assert {"results.png", "confusion_matrix.png"} <= names
    for plot in plots:
        answer = httpx.get(plot["url"])
        assert answer.status_code == 200
        assert hashlib.sha256(answer.content).hexdigest() == plot["sha256"]
        assert "X-Amz-Expires" in plot["url"]
    beside = api.get(f"/api/runs/{story.run['runId']}/metrics").json()["plots"]
    assert [plot["sha256"] for plot in beside] == [
        plot["sha256"] for plot in api.get(f"/api/runs/{story.run['runId']}/plots").json()["plots"]
    ]
    assert httpx.get(beside[0]["url"]).status_code == 200
    first = plots[0]
    through = api.get(f"/api/runs/{story.run['runId']}/plots/{first['name']}")
    assert hashlib.sha256(through.content).hexdigest() == first["sha256"]
    assert through.headers["content-type"].startswith("image/")
    forged = first["url"].replace(first["name"], "other.png")
    assert httpx.get(forged).status_code == 403


def test_a_second_import_sends_nothing_and_makes_no_version(story: Story, command: Command):
    again = command.json("dataset", "import", str(story.source), "--name", "cells")
    assert again["reference"] == "cells@v1"
    assert again["uploadedFiles"] == 0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["epochs=abc"], "epochs"),
        (["epochs=-3"], "epochs"),
        (["lr0=nan"], "lr0"),
        (["epochs=True"], "epochs"),
        (["device=0"], "device"),
        (["nosuch=1"], "nosuch"),
        (["model=yolov99"], "model"),
    ],
)
def test_bad_arguments_are_refused_by_name(story: Story, command: Command, arguments, field):
    given = {item.partition("=")[0] for item in arguments}
    rest = [
        item
        for item in ["data=cells@v1", "model=yolov8n", f"epochs={EPOCHS}", *ARGUMENTS]
        if item.partition("=")[0] not in given
    ]
    refused = command.run("train", *rest, *arguments, "--detach", code=3)
    assert field in refused.stderr


def test_refusals_of_state(story: Story, command: Command, tmp_path):
    assert (
        "split"
        in command.run("split", "create", "cells@v1", "--ratios", "0.7,0.7,0.1", "--seed", "1", code=2).stderr.lower()
    )
    assert command.run("split", "create", "cells@v1", "--ratios", "1.2,-0.2,0", "--seed", "1", code=2).stderr
    assert "cells@v9" in command.run("train", "data=cells@v9", "model=yolov8n", "--detach", code=3).stderr
    command.run("dataset", "import", str(tmp_path / "absent"), code=2)
    (tmp_path / "empty").mkdir()
    assert "image" in command.run("dataset", "import", str(tmp_path / "empty"), code=2).stderr


def test_an_unreachable_gateway_is_exit_code_4(command: Command):
    elsewhere = Command({**command.environment, "SPLITRAIL_URL": "http://127.0.0.1:9"}, command.program)
    assert elsewhere.run("run", "ls", code=4).stderr
