"""The synchronous client through a real gateway to real services; no pod, so that jobs stay queued. The whole job is in
/tests.
"""

import json

import pytest
import splitrail_client
from click.testing import CliRunner
from splitrail.events.v1 import event_pb2
from splitrail_client.cli import cli
from splitrail_local.shapes import generate

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("cells")
    generate(root, images=30, size=48, seed=1)
    (root / "labels" / "shapes_0003.txt").write_text("99 0.5 0.5 0.1 0.1\n")
    return root


@pytest.fixture(scope="module")
def imported(client, folder):
    return client.import_dataset(folder, "cells")


def test_an_import_and_its_repetition(client, folder, imported):
    contents = {path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert (imported.reference, imported.uploaded_files) == ("cells@v1", len(contents))
    problems = client.problems(imported.report.import_id)
    assert len(problems) == imported.report.problem_count
    assert ("labels/shapes_0003.txt", 1) in [(problem.path, problem.line) for problem in problems]
    again = client.import_dataset(folder, "cells")
    assert (again.reference, again.uploaded_files) == ("cells@v1", 0)
    assert [item.name for item in client.datasets()] == ["cells"]


def test_splits_of_every_kind(client, stack, imported):
    ratios = (0.6, 0.2, 0.2)
    seen = client.preview_split("cells@v1", ratios, seed=5)
    first = client.split("cells@v1", ratios, seed=5)
    assert (seen.digest, seen.split_id) == (first.digest, "")
    pinned = client.split(
        "cells@v1", ratios, base=first.reference, pins={"images/shapes_0001.jpg": "test"}, group_by=["near:0"]
    )
    assert pinned.certificate.kept_images >= 29
    fold = client.split("cells@v1", ratios, folds=(3, 1))
    assert (fold.parameters.folds.count, client.get_split("cells@v1").reference) == (3, pinned.reference)
    assert [item.reference for item in client.splits("cells@v1")] == ["cells@v1#3", "cells@v1#2", "cells@v1#1"]
    compared = client.compare_splits(fold.reference, first.reference)
    assert sum(move.images for move in compared.moves) == 29
    assert len(compared.assets) == sum(move.images for move in compared.moves if move.before != move.now)
    leaks = client.leaks(fold.reference)
    assert len(leaks) == sum(fold.certificate.near_duplicate_pairs)
    with pytest.raises(splitrail_client.UsageError, match="rule"):
        client.split("cells@v1", ratios, group_by=["nothing"])
    with pytest.raises(splitrail_client.RefusedError, match="site"):
        client.split("cells@v1", ratios, group_by=["metadata:site"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "cells@v1", "--seed", "5", "--group-by", "folder", "--group-by", "near:2", "--preview"],
        ["create", "cells@v1", "--by-hash", "--preview"],
        ["create", "cells@v1", "--no-stratify", "--folds", "2", "--preview"],
        ["ls", "cells@v1"],
        ["get", "cells@v1#1"],
        ["compare", "cells@v1#3", "cells@v1#1"],
        ["leaks", "cells@v1#1", "--within", "2"],
    ],
)
def test_the_split_command_in_text_and_json(stack, imported, arguments):
    environment = {"SPLITRAIL_URL": stack.gateway_url, "SPLITRAIL_TOKEN": stack.admin_token}
    shown = CliRunner().invoke(cli, ["split", *arguments], env=environment)
    assert shown.exit_code == 0, shown.output
    document = CliRunner().invoke(cli, ["split", *arguments, "-o", "json"], env=environment)
    assert json.loads(document.stdout) is not None
    assert "Traceback" not in shown.output


def test_the_list_of_splits_says_which_one_counts(client, invoke, imported):
    made = client.split("cells@v1")
    client.split("cells@v1", folds=(2, 0))
    lines = [line.split() for line in invoke("split", "ls", "cells@v1").stdout.splitlines()]
    assert [line[0] for line in lines if line[1] == "(current)"] == [made.reference]
    assert [
        item["reference"]
        for item in json.loads(invoke("split", "ls", "cells@v1", "-o", "json").stdout)
        if item["current"]
    ] == [made.reference]


def test_a_split_is_deleted_by_its_number(client, invoke, imported):
    kept, made = client.split("cells@v1", seed=11), client.split("cells@v1", seed=12)
    assert invoke("split", "delete", "cells@v1", "--yes").exit_code == 2
    assert invoke("split", "delete", made.reference).exit_code == 2  # nobody is there to answer
    assert invoke("split", "delete", made.reference, "--yes").stdout == f"{made.reference} deleted\n"
    assert client.get_split("cells@v1").split_id == kept.split_id


def test_unlabelled_images_are_counted_where_they_are_left_out(invoke, tmp_path):
    generate(tmp_path / "half", images=12, size=48, seed=77)
    for label in sorted((tmp_path / "half").rglob("*.txt"))[:5]:
        label.unlink()
    done = invoke("dataset", "import", str(tmp_path / "half"))
    assert done.stdout.startswith("half@v1 12 images, 5 unlabelled, ")
    assert "5 images unlabelled, so in no split" in done.stderr
    assert (
        json.loads(invoke("dataset", "import", str(tmp_path / "half"), "-o", "json").stdout)["version"][
            "unlabelledCount"
        ]
        == 5
    )
    assert invoke("split", "create", "half@v1").exit_code == 0
    exported = invoke("dataset", "export", "half@v1", str(tmp_path / "out"))
    assert "7 images" in exported.stdout
    assert "5 images in no part of the split left out: --include-unlabelled includes them" in exported.stderr


def test_strict_and_dry_run_commit_nothing(client, folder, imported):
    with pytest.raises(splitrail_client.ImportFailedError) as caught:
        client.import_dataset(folder, "strict", strict=True)
    assert (caught.value.exit_code, caught.value.report.problem_count) == (3, imported.report.problem_count)
    assert client.import_dataset(folder, "dry", dry_run=True).reference == ""
    assert not {"strict", "dry"} & {item.name for item in client.datasets()}


def test_a_watch_outlives_the_service_and_ends_with_the_run(client, stack, imported):
    split = client.split("cells@v1", seed=1)
    assert client.get_split("cells@v1").split_id == split.split_id
    run = client.train(data="cells@v1", model="yolov8n", epochs=3, labels={"team": "x"})
    interruptions = []
    watching = client.watch(run, on_interruption=lambda error, seconds: interruptions.append(error))
    states = [next(watching).state.state]
    killed = stack.kill("metrics")
    assert client.cancel(run).run_id == run.run_id
    states += [event.state.state for event in watching]
    assert states == [event_pb2.JOB_STATE_QUEUED, event_pb2.JOB_STATE_CANCELLED]
    assert interruptions
    stack.restored("metrics", killed)
    assert client.run(run.reference).job.state == event_pb2.JOB_STATE_CANCELLED


def test_refusals_name_their_fields(client, imported):
    with pytest.raises(splitrail_client.RefusedError) as caught:
        client.train(data="cells@v1", model="yolov8n", epochs="abc", nosuch=1, lr0=float("nan"))
    assert caught.value.reason == "INVALID_FIELD"
    assert {item.field for item in caught.value.violations} == {"arguments.epochs", "arguments.nosuch", "arguments.lr0"}


def test_a_strangers_token_is_refused(stack):
    with (
        splitrail_client.connect(stack.gateway_url, "no.good.token") as stranger,
        pytest.raises(splitrail_client.RefusedError, match="accept the token"),
    ):
        stranger.runs()
