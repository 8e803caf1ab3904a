"""The command itself: exit codes, what goes where, and what is understood before any service is asked."""

import asyncio
import json
import signal
import socket
import sys
import threading
import time
from concurrent import futures
from contextlib import contextmanager, suppress

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from PIL import Image
from splitrail.events.v1 import event_pb2
from splitrail.metrics.v1 import metrics_pb2, metrics_service_pb2, metrics_service_pb2_grpc
from splitrail.split.v1 import dataset_pb2
from splitrail.trainer.v1 import (
    evaluation_pb2,
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    job_pb2,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
)
from splitrail_client import AsyncClient, Client, connect
from splitrail_client.cli import cli
from splitrail_client.connection import Connection


class Runs(run_service_pb2_grpc.RunServiceServicer, evaluation_service_pb2_grpc.EvaluationServiceServicer):
    """Takes every run, or refuses it with `refusal`."""

    def __init__(self):
        self.created = []
        self.refusal = None
        self.state = event_pb2.JOB_STATE_SUCCEEDED
        self.class_names = ["rbc", "wbc"]

    def CreateRun(self, request, context):
        if self.refusal is not None:
            context.abort_with_status(rpc_status.to_status(self.refusal))
        self.created.append(request)
        return run_service_pb2.CreateRunResponse(run=self._run(), warnings=["batch is odd"])

    def ResolveRun(self, request, context):
        if request.reference != "cells/1":
            context.abort(grpc.StatusCode.NOT_FOUND, f"no run '{request.reference}'")
        return run_service_pb2.ResolveRunResponse(run=self._run())

    def GetRun(self, request, context):
        return run_service_pb2.GetRunResponse(run=self._run())

    def GetEvaluation(self, request, context):
        return evaluation_service_pb2.GetEvaluationResponse(evaluation=evaluation(self.class_names))

    def ListRuns(self, request, context):
        if request.page_token:
            return run_service_pb2.ListRunsResponse(runs=[run_pb2.Run(run_id="run-0", reference="cells/\x1b[2J0")])
        return run_service_pb2.ListRunsResponse(runs=[self._run()], next_page_token="more")

    def _run(self):
        return run_pb2.Run(
            run_id="run-1",
            reference="cells/1",
            model="yolov8n",
            epochs=2,
            job=job_pb2.Job(state=self.state, message="it broke", cause=6),
        )


def evaluation(class_names):
    side = len(class_names) + 1
    matrix = evaluation_pb2.ConfusionMatrix(
        class_names=class_names, counts=range(1000, 1000 + side * side), confidence=0.25
    )
    return evaluation_pb2.Evaluation(
        evaluation_id="evaluation-1",
        run_reference="cells/1",
        number=1,
        part=dataset_pb2.PART_TEST,
        split_reference="cells@v1#1",
        job=job_pb2.Job(state=event_pb2.JOB_STATE_SUCCEEDED),
        result=evaluation_pb2.EvaluationResult(overall={"mAP50": 0.5}, confusion_matrix=matrix),
    )


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    """A feed of two epochs."""

    def WatchRun(self, request, context):
        for seq in (1, 2):
            row = metrics_pb2.EpochMetrics(
                epoch=seq, epochs=2, metrics={"mAP50": 0.5, "fitness": 0.1, "train_box_loss": float("nan")}
            )
            yield metrics_service_pb2.WatchRunResponse(
                cursor=seq, event=metrics_pb2.FeedEvent(seq=seq, run_id="run-1", epoch=row)
            )
        change = event_pb2.StateChanged(state=event_pb2.JOB_STATE_SUCCEEDED)
        yield metrics_service_pb2.WatchRunResponse(
            cursor=3, event=metrics_pb2.FeedEvent(seq=3, run_id="run-1", state=change)
        )
        yield metrics_service_pb2.WatchRunResponse(
            cursor=3, closed=metrics_service_pb2.Closed(reason=metrics_service_pb2.CLOSED_REASON_ENDED)
        )

    def GetMetricSchema(self, request, context):
        quality = metrics_pb2.MetricDescriptor(
            key="mAP50", title="mAP50", unit="ratio", direction=metrics_pb2.DIRECTION_HIGHER, headline=True
        )
        return metrics_service_pb2.GetMetricSchemaResponse(metrics=[quality])

    def BatchGetSummaries(self, request, context):
        return metrics_service_pb2.BatchGetSummariesResponse(summaries={"run-1": metrics_pb2.RunSummary(epochs_done=2)})

    def GetRunMetrics(self, request, context):
        rows = [metrics_pb2.EpochMetrics(epoch=number, metrics={"mAP50": 0.1 * number}) for number in (1, 2)]
        return metrics_service_pb2.GetRunMetricsResponse(epochs=rows)


@contextmanager
def serving(runs):
    server = grpc.server(futures.ThreadPoolExecutor(4))
    run_service_pb2_grpc.add_RunServiceServicer_to_server(runs, server)
    evaluation_service_pb2_grpc.add_EvaluationServiceServicer_to_server(runs, server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.fixture
def runs():
    return Runs()


@pytest.fixture
def invoke(runs, monkeypatch):
    with serving(runs) as url:
        monkeypatch.setenv("SPLITRAIL_URL", url)
        monkeypatch.setenv("SPLITRAIL_TOKEN", "secret")
        yield lambda *arguments: CliRunner().invoke(cli, arguments)


def refusal(code, message, *violations):
    details = [error_details_pb2.ErrorInfo(reason="INVALID_FIELD", domain="splitrail")]
    if violations:
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=text) for field, text in violations
        ]
        details.append(error_details_pb2.BadRequest(field_violations=fields))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def test_arguments_travel_with_their_types(invoke, runs):
    done = invoke(
        "train",
        "data=cells@v1",
        "model=yolov8n",
        "epochs=2",
        "lr0=nan",
        "cos_lr=True",
        "optimizer=AdamW",
        "--label",
        "a=b",
        "--detach",
    )
    assert done.exit_code == 0, done.stderr
    (request,) = runs.created
    assert (request.data, request.model, dict(request.labels)) == ("cells@v1", "yolov8n", {"a": "b"})
    assert request.arguments["epochs"].number_value == 2
    assert request.arguments["lr0"].number_value != request.arguments["lr0"].number_value
    assert request.arguments["cos_lr"].bool_value is True
    assert request.arguments["optimizer"].string_value == "AdamW"
    assert request.request_id
    assert done.stdout == "cells/1 queued\n"
    assert "warning: batch is odd" in done.stderr


def test_train_follows_and_answers(invoke):
    done = invoke("train", "data=cells@v1", "model=yolov8n")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "cells/1 succeeded: 2 epochs; best checkpoint: val mAP50 0.500\n"
    assert "cells/1 epoch 2/2: box nan, val mAP50 0.500" in done.stderr
    assert json.loads(invoke("train", "data=cells@v1", "model=yolov8n", "-o", "json").stdout)["runId"] == "run-1"


def test_watch_prints_the_gateways_messages(invoke):
    done = invoke("run", "watch", "cells/1", "-o", "json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"]["epoch"]["epoch"] for line in lines[:2]] == [1, 2]
    assert lines[0]["event"]["epoch"]["metrics"]["train_box_loss"] == "NaN"
    assert lines[-1]["closed"]["reason"] == "CLOSED_REASON_ENDED"


@pytest.mark.parametrize(
    ("state", "sentence"), [(4, "cells/1 failed (process): it broke"), (5, "cells/1 was cancelled")]
)
def test_a_run_that_does_not_succeed_is_exit_code_1(invoke, runs, state, sentence):
    runs.state = state
    done = invoke("run", "watch", "cells/1")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"splitrail: {sentence}\n" in done.stderr


def test_a_refusal_is_exit_code_3_and_names_each_field(invoke, runs):
    runs.refusal = refusal(
        grpc.StatusCode.INVALID_ARGUMENT,
        "two things",
        ("epochs", "must be\x1b[31m at least 1"),
        ("nosuch", "is no argument"),
    )
    done = invoke("train", "data=cells@v1", "model=yolov8n", "epochs=-3", "nosuch=1")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == "splitrail: epochs: must be[31m at least 1\nsplitrail: nosuch: is no argument\n"
    assert invoke("run", "watch", "cells/9").exit_code == 3


def test_an_unreachable_gateway_is_exit_code_4(monkeypatch, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("SPLITRAIL_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("SPLITRAIL_TOKEN", "secret")
        done = CliRunner().invoke(cli, ["run", "ls"])
        Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
        resumable = CliRunner().invoke(cli, ["dataset", "import", str(tmp_path)])
    assert (done.exit_code, resumable.exit_code) == (4, 4)
    assert "cannot be reached (Connection refused)" in done.stderr
    assert "run the same command again" not in done.stderr
    assert resumable.stderr.endswith("run the same command again to resume\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "model=yolov8n"],
        ["train", "data=cells@v1", "model="],
        ["train", "data=cells@v1", "model=x", "epochs"],
        ["train", "data=cells@v1", "model=x", "epochs=1", "epochs=2"],
        ["train", "data=cells@v1", "model=x", "--label", "a"],
        ["split", "create", "cells@v1", "--ratios", "a,b,c"],
        ["split", "create", "cells@v1", "--seed", "-1"],
        ["eval", "run", "cells/1", "--split", "holdout"],
        ["dataset", "import", "/nowhere/at/all"],
        ["version", "add", "cells@draft"],
        ["version", "add", "cells@draft", "--annotations", "/nowhere/at/all"],
        ["version", "add", "cells@draft", "--annotations", __file__],
        ["version", "remove", "cells@draft"],
        ["version", "classes", "cells@draft"],
        ["version", "classes", "cells@draft", "--rename", "cell"],
        ["version", "classes", "cells@draft", "--merge", "a=b", "--merge", "a=c"],
        ["version", "diff"],
        ["version", "diff", "cells@v1", "cells@v2", "cells@v3"],
        ["run", "ls", "--token-file", "/nowhere/at/all"],
        ["run", "ls", "--url", "nonsense"],
        ["nonsense"],
    ],
)
def test_what_cannot_be_meant_is_exit_code_2(invoke, arguments):
    done = invoke(*arguments)
    assert (done.exit_code, done.stdout) == (2, ""), done.stderr
    assert done.stderr


def test_lists_go_through_all_pages_and_show_text_as_text(invoke):
    done = invoke("run", "ls")
    assert done.exit_code == 0, done.stderr
    assert "cells/[2J0" in done.stdout
    assert "\x1b" not in done.stdout
    assert [item["reference"] for item in json.loads(invoke("run", "ls", "-o", "json").stdout)] == [
        "cells/1",
        "cells/\x1b[2J0",
    ]
    assert [item["reference"] for item in json.loads(invoke("run", "ls", "--limit", "1", "-o", "json").stdout)] == [
        "cells/1"
    ]


def test_an_evaluation_shows_its_confusion_matrix_where_it_can_be_read(invoke, runs):
    done = invoke("eval", "get", "evaluation-1")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-6] == "confusion matrix, confidence from 0.25: rows are predicted, columns true"
    assert [line.split()[-3:] for line in lines[-5:-2]] == [
        ["rbc", "wbc", "background"],
        ["1000", "1001", "1002"],
        ["1003", "1004", "1005"],
    ]


def test_columns_of_a_wide_confusion_matrix_are_numbered(invoke, runs):
    runs.class_names = [f"a class of a long name {number}" for number in range(9)]
    lines = invoke("eval", "get", "evaluation-1").stdout.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("PREDICTED"))
    assert lines[head].split()[3:] == [str(number) for number in range(1, 11)]
    assert lines[head + 1].split() == ["1", *runs.class_names[0].split(), *(str(count) for count in range(1000, 1010))]
    assert lines[head + 10].split() == ["10", "background", *(str(count) for count in range(1090, 1100))]


@pytest.mark.parametrize("class_names", [[f"c{number}" for number in range(21)], ["x" * 150, "y"]])
def test_a_confusion_matrix_that_nobody_could_read_is_only_pointed_at(invoke, runs, class_names):
    runs.class_names = class_names
    done = invoke("eval", "get", "evaluation-1")
    assert done.exit_code == 0, done.stderr
    assert "1000" not in done.stdout
    assert f"confusion matrix of {len(class_names)} classes: splitrail eval get cells/1/eval/1 -o json" in done.stderr
    document = json.loads(invoke("eval", "get", "evaluation-1", "-o", "json").stdout)
    assert len(document["result"]["confusionMatrix"]["counts"]) == (len(class_names) + 1) ** 2


def test_the_synchronous_client_reads_as_short(runs):
    with serving(runs) as url, connect(url, "secret") as client:
        run = client.train(data="cells@v1", model="yolov8n", epochs=2)
        assert [event.epoch.epoch for event in client.watch(run)] == [1, 2, 0]
        assert list(client.history(run)["mAP50"]) == [0.1, 0.2]
        watching = client.watch("cells/1")
        assert next(watching).seq == 1
        watching.close()
        left = client.watch("cells/1")
        assert next(left).seq == 1
    left.close()  # after its client: nothing remains to be ended


async def test_the_synchronous_client_works_where_a_loop_runs_already(runs):
    with serving(runs) as url, connect(url, "secret") as client:  # as in a notebook
        assert client.run("cells/1").run_id == "run-1"
        assert [event.seq for event in client.watch("cells/1")] == [1, 2, 3]


class Interrupted(AsyncClient):
    """Ctrl-C comes while the second event, or an answer, is waited for, and what is waited for takes its time to
    unwind.
    """

    unwound = False

    async def watch(self, run, **_):
        yield metrics_pb2.FeedEvent(seq=1)
        await self._forever()

    async def schema(self):
        await self._forever()

    async def _forever(self):
        self._press_ctrl_c()
        try:
            await asyncio.Event().wait()
        finally:
            self._where_the_main_thread_waits()
            for _ in range(10):
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            self.unwound = True

    def _press_ctrl_c(self):
        waiting = self._where_the_main_thread_waits()
        while sys._current_frames()[threading.main_thread().ident] is waiting:
            time.sleep(0.05)  # a signal that comes just before a wait does not end the wait: so again while it lasts
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.05)

    def _where_the_main_thread_waits(self):
        deadline = time.monotonic() + 10
        while (frame := sys._current_frames()[threading.main_thread().ident]).f_code.co_name != "wait":
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return frame


def test_ctrl_c_while_waiting_for_an_event_is_ctrl_c_and_ends_the_watch():
    interrupted = Interrupted(Connection("http://127.0.0.1:1", "secret", "test"))
    with Client(interrupted) as client:
        watching = client.watch("cells/1")
        assert next(watching).seq == 1
        with pytest.raises(KeyboardInterrupt):
            next(watching)
        assert interrupted.unwound


def test_ctrl_c_while_waiting_for_an_answer_is_ctrl_c_and_ends_the_call():
    interrupted = Interrupted(Connection("http://127.0.0.1:1", "secret", "test"))
    client = Client(interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.schema()
    client.close()  # waits for what unwinds
    assert interrupted.unwound


def test_a_client_that_nobody_closes_ends_with_its_last_reference(runs):
    with serving(runs) as url:
        client = connect(url, "secret")
        client.runs()
        names = [thread.name for thread in threading.enumerate() if thread.name == "splitrail-client"]
        assert len(names) == 1
        del client
        assert not [thread for thread in threading.enumerate() if thread.name == "splitrail-client"]
