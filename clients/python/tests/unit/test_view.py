"""What a watcher sees: folded from events, drawn on a terminal, told in lines elsewhere."""

import io
import json
import math

import pytest
from rich.console import Console
from splitrail.events.v1 import event_pb2 as events
from splitrail.metrics.v1 import metrics_pb2, metrics_service_pb2
from splitrail.split.v1 import dataset_pb2, import_pb2, split_pb2, version_pb2
from splitrail.trainer.v1 import evaluation_pb2, job_pb2, run_service_pb2
from splitrail_client.cli import documents, tables
from splitrail_client.cli.live import Display, render
from splitrail_client.cli.view import View, epoch_line, result_line
from splitrail_client.errors import RefusedError, UnreachableError


def drawn(renderable, width=100, terminal=False):
    file = io.StringIO()
    Console(
        file=file,
        width=width,
        height=30,
        force_terminal=terminal,
        markup=False,
        emoji=False,
        highlight=False,
        color_system=None,
    ).print(renderable)
    return file.getvalue()


def event(seq, attempt=1, **payload):
    return metrics_pb2.FeedEvent(seq=seq, attempt=attempt, **payload)


@pytest.fixture
def view(make_epoch, make_state, names):
    made = View("cells/1", epochs=5, names=names)
    made.apply(make_state(1, events.JOB_STATE_QUEUED))
    made.apply(event(2, attempt_started=events.AttemptStarted(worker="local", device="cpu")))
    made.apply(event(3, stage=events.StageChanged(stage=events.STAGE_TRAINING)))
    for number in range(1, 4):
        made.apply(make_epoch(3 + number, number, 5, mAP50=0.1 * number, epoch_seconds=4.0))
    return made


def test_epochs_are_drawn_as_they_come(view):
    view.progress = events.BatchProgress(epoch=4, epochs=5, batch=3, batches=10, losses={"box_loss": 1.25})
    text = drawn(render(view, None))
    assert "cells/1  running  training  attempt 1 on local (cpu)" in text
    assert "3/5" in text
    assert "ETA 8s" in text
    assert "3/10" in text
    assert "box_loss 1.250" in text
    header = next(line for line in text.splitlines() if "val mAP50" in line)
    assert header.split() == ["epoch", "box", "cls", "dfl", "val", "mAP50", "val", "mAP50-95", "seconds"]
    assert next(line for line in text.splitlines() if line.strip().startswith("3 ")).split() == [
        "3",
        "1.500",
        "2.500",
        "0.500",
        "0.300",
        "0.125",
        "4.0",
    ]


def test_a_low_terminal_shows_the_last_epochs(view):
    text = drawn(render(view, 2))
    rows = [line.split()[0] for line in text.splitlines() if line.strip()[:1].isdigit()]
    assert rows == ["2", "3"]


def test_a_roll_back_drops_the_void_epochs_and_says_so(view, make_epoch):
    line = view.apply(event(8, attempt=2, rolled_back=events.RolledBack(epoch=1)))
    assert line == "rolled back to epoch 1: epochs 2 to 3 are discarded and trained again"
    assert sorted(view.rows) == [1]
    assert line in drawn(render(view, None))
    view.apply(make_epoch(9, 2, 5, attempt=2))
    assert sorted(view.rows) == [1, 2]
    assert view.apply(event(10, attempt=2, rolled_back=events.RolledBack(epoch=2))) is None


def test_a_feed_that_starts_again_is_shown_from_its_first_event(view, make_epoch, make_state):
    file = io.StringIO()
    Display(view, Console(file=file, width=120)).restarted(RefusedError("another incarnation"))
    assert (
        file.getvalue()
        == "cells/1 the platform was restored from a backup: the feed is shown again from its first event\n"
    )
    view.apply(make_state(1, events.JOB_STATE_RUNNING))
    view.apply(make_epoch(2, 1, 5))
    assert (view.state, sorted(view.rows)) == ("running", [1])


def test_a_second_attempt_says_where_it_goes_on(view):
    line = view.apply(
        event(7, attempt=2, attempt_started=events.AttemptStarted(worker="pod-2", device="NVIDIA H200", resume_epoch=3))
    )
    assert line == "attempt 2 on pod-2 (NVIDIA H200), resumes after epoch 3"
    assert view.attempt == 2


def test_a_failure_says_why(view, make_state):
    line = view.apply(
        make_state(9, events.JOB_STATE_FAILED, cause=events.FAILURE_CAUSE_NAN, message="the loss is NaN since epoch 2")
    )
    assert line == "failed (nan: the loss is NaN since epoch 2)"
    assert "the loss is NaN since epoch 2" in drawn(render(view, None))


def test_lines_for_logs(view, make_epoch, names):
    assert epoch_line(make_epoch(1, 3, 20, mAP50=math.nan, epoch_seconds=3.21).epoch, names) == (
        "epoch 3/20: box 1.500, cls 2.500, dfl 0.500, val mAP50 nan, val mAP50-95 0.125, 3.2 s"
    )
    view.state = "succeeded"
    view.apply(event(9, final_metrics=metrics_pb2.EpochMetrics(metrics={"mAP50": 0.9, "mAP50_95": 0.5})))
    assert (
        result_line(view, 200)
        == "cells/1 succeeded: 3 epochs in 3m 20s; best checkpoint: val mAP50 0.900, val mAP50-95 0.500"
    )


def test_the_best_epoch_is_that_of_the_highest_fitness(view, make_epoch):
    view.apply(make_epoch(7, 4, 5, fitness=math.nan))
    assert view.best is not None
    assert view.best.epoch == 3
    view.apply(make_epoch(8, 5, 5, fitness=math.inf))
    assert view.best.epoch == 3
    assert View("x").best is None


def test_of_epochs_of_equal_fitness_the_latest_is_the_best_as_the_services_have_it(view, make_epoch):
    view.apply(make_epoch(7, 4, 5, fitness=view.rows[3].metrics["fitness"]))
    assert view.best.epoch == 4


def test_other_tasks_losses_have_their_columns(names):
    made = View("x", epochs=1, names=names)
    made.apply(
        event(
            1,
            epoch=metrics_pb2.EpochMetrics(
                epoch=1, epochs=1, metrics={"train_pose_loss": 1.0, "train_box_loss": 2.0, "top1": 0.5}
            ),
        )
    )
    assert ["epoch", "box", "pose", "val", "top1", "seconds"] in [
        line.split() for line in drawn(render(made, None)).splitlines()
    ]


def test_text_of_users_is_drawn_as_text(view):
    view.title = "[red]cells\x1b[2J/1"
    view.note = "[link=x]note\x07"
    view.worker = "[bold]pod\x1b]0;title\x07"
    text = drawn(render(view, None), terminal=True)
    assert "[red]cells[2J/1" in text
    assert "[link=x]note" in text
    assert "\x07" not in text
    assert "\x1b[2J" not in text
    assert "\x1b]0" not in text


def test_a_log_gets_one_line_a_step_and_a_terminal_the_whole_table(make_epoch, make_state, names):
    for terminal in (False, True):
        file = io.StringIO()
        display = Display(
            View("cells/1", names=names), Console(file=file, width=100, force_terminal=terminal, color_system=None)
        )
        with display.showing():
            display.message(metrics_service_pb2.WatchRunResponse(event=make_state(1, events.JOB_STATE_RUNNING)))
            display.message(metrics_service_pb2.WatchRunResponse(progress=events.BatchProgress(batch=1, batches=2)))
            display.interrupted(UnreachableError("gone"), 0.5)
            display.message(metrics_service_pb2.WatchRunResponse(event=make_epoch(2, 1)))
            display.message(metrics_service_pb2.WatchRunResponse(event=make_state(3, events.JOB_STATE_SUCCEEDED)))
        if terminal:
            assert "val mAP50" in file.getvalue()
        else:
            assert file.getvalue().splitlines() == [
                "cells/1 running",
                "cells/1 connection lost (gone); next attempt in 0.5 s",
                "cells/1 epoch 1/3: box 1.500, cls 2.500, dfl 0.500, val mAP50 0.250, val mAP50-95 0.125",
                "cells/1 succeeded",
            ]


@pytest.fixture
def evaluation():
    classes = [
        evaluation_pb2.ClassResult(class_name="[red]rbc", images=5, objects=9, metrics={"mAP50": 0.5}),
        evaluation_pb2.ClassResult(class_name="wbc"),
    ]
    matrix = evaluation_pb2.ConfusionMatrix(class_names=["rbc", "wbc"], counts=range(9), confidence=0.25)
    points = [evaluation_pb2.ClassCurve(class_name="[red]rbc", y=[1.0, 0.25])]
    curve = evaluation_pb2.Curve(
        name="precision_recall", x_title="Recall", y_title="Precision", x=[0.0, 1.0], classes=points
    )
    result = evaluation_pb2.EvaluationResult(
        images=55,
        objects=240,
        overall={"mAP50": 0.873, "mAP50_95": 0.6},
        classes=classes,
        confusion_matrix=matrix,
        curves=[curve],
    )
    job = job_pb2.Job(state=events.JOB_STATE_SUCCEEDED)
    return evaluation_pb2.Evaluation(
        run_reference="cells/1",
        split_reference="cells@v1#1",
        number=2,
        part=dataset_pb2.PART_TEST,
        result=result,
        contaminated_images=3,
        job=job,
    )


def test_evaluations_name_their_part_beside_every_number(evaluation, names):
    text = drawn(tables.evaluation_result(evaluation, names))
    assert text.splitlines()[0].split() == ["CLASS", "images", "objects", "test", "mAP50", "test", "mAP50-95"]
    assert text.splitlines()[1].split() == ["all", "55", "240", "0.873", "0.600"]
    assert text.splitlines()[2].split() == ["[red]rbc", "5", "9", "0.500", "–"]
    assert tables.evaluation_headline(evaluation) == (
        "cells/1/eval/2: cells/1 on the part test of cells@v1#1 (55 images, 240 objects; forced: 3 images of them were trained on)"
    )
    assert "test mAP50 0.873, test mAP50-95 0.600" in drawn(tables.evaluations([evaluation], names), 160)


def test_documents_are_the_gateways_json_and_what_the_command_knows(evaluation):
    made = documents.evaluation(evaluation)
    assert (made["reference"], made["part"], made["contaminatedImages"]) == ("cells/1/eval/2", "PART_TEST", 3)
    evaluation.result.overall["mAP50"] = math.nan
    assert (
        json.loads(json.dumps(documents.document(evaluation), allow_nan=False))["result"]["overall"]["mAP50"] == "NaN"
    )
    started = documents.import_report(import_pb2.Import(dataset_name="cells"), [import_pb2.Problem(path="a.jpg")], None)
    assert (started["datasetName"], started["problems"][0]["path"], "version" in started) == ("cells", "a.jpg", False)
    draft = documents.draft(version_pb2.Draft(version=dataset_pb2.DatasetVersion(version_id="v-1")))
    assert (draft["versionId"], draft["reference"], draft["createTime"]) == ("v-1", "v-1", "1970-01-01T00:00:00Z")


def test_a_class_may_be_called_background(evaluation):
    evaluation.result.confusion_matrix.class_names[1] = "background"
    lines = drawn(tables.confusion_matrix(evaluation.result.confusion_matrix)).splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["2", "5", "8"]


def test_the_confusion_matrix_has_a_row_for_each_predicted_class(evaluation):
    evaluation.result.confusion_matrix.class_names[0] = "[red]rbc\x1b[2J"
    lines = [line.split() for line in drawn(tables.confusion_matrix(evaluation.result.confusion_matrix)).splitlines()]
    assert lines == [
        ["PREDICTED", "\\", "TRUE", "[red]rbc[2J", "wbc", "background"],
        ["[red]rbc[2J", "0", "1", "2"],
        ["wbc", "3", "4", "5"],
        ["background", "6", "7", "8"],
    ]


def test_problems_read_as_a_place_and_a_sentence():
    assert (
        tables.problem_line(import_pb2.Problem(path="labels/a.txt", line=3, message="class 7"))
        == "labels/a.txt:3: class 7"
    )
    assert (
        tables.problem_line(import_pb2.Problem(path="a.jpg", message="bad", image_excluded=True))
        == "a.jpg: bad (image left out)"
    )
    of_an_annotation = import_pb2.Problem(path="a.json", object=3, message="no box")
    assert tables.problem_line(of_an_annotation) == "a.json, annotation 3: no box"
    assert (
        tables.problem_line(import_pb2.Problem(message="holds what cells@v1 holds", note=True))
        == "holds what cells@v1 holds"
    )


def test_split_tables_hold_counts_of_each_part_and_class():
    parts = [
        split_pb2.PartSummary(part=number, images=10 * number, objects=number, background_images=1)
        for number in (1, 2, 3)
    ]
    balance = split_pb2.ClassBalance(
        class_name="rbc",
        parts=[split_pb2.ClassPart(part=n, images=n, objects=2 * n, deviation=0.01 * n) for n in (1, 2, 3)],
    )
    revision = split_pb2.SplitRevision(certificate=split_pb2.SplitCertificate(parts=parts, classes=[balance]))
    lines = [line.split() for line in drawn(tables.split_counts(revision)).splitlines()]
    assert lines[0][2:] == ["train", "val", "test", "DEVIATION"]
    assert lines[1] == ["all", "10", "(1)", "20", "(2)", "30", "(3)"]
    assert lines[2] == ["rbc", "1", "(2)", "2", "(4)", "3", "(6)", "3.0%"]


def test_the_schema_is_a_table_by_group():
    item = run_service_pb2.ArgumentDescriptor(
        name="imgsz", group=run_service_pb2.ARGUMENT_GROUP_CORE, type=1, minimum=32, multiple_of=32, help="Image size."
    )
    item.default_value.number_value = 640
    text = drawn(tables.schema([item]))
    assert text.splitlines()[1].strip() == "core"
    assert text.splitlines()[2].split() == ["imgsz", "integer", "640", "32..", "multiple", "of", "32", "Image", "size."]
