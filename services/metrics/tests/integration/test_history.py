"""What is read after the fact: history, summaries, plots, log lines, watermarks."""

import hashlib
import math
import uuid
from datetime import UTC, datetime, timedelta

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from splitrail.events.v1 import event_pb2 as payloads
from splitrail.internal.events.v1 import run_event_pb2 as events
from splitrail.internal.metrics.v1 import watermark_service_pb2
from splitrail.metrics.v1 import metrics_pb2
from splitrail.metrics.v1 import metrics_service_pb2 as api
from splitrail_common.objects import ObjectStore
from splitrail_common.peers import bearer
from splitrail_local.testing import eventually
from splitrail_metrics.history.store import PAGE_BYTES

pytestmark = pytest.mark.integration
SPLIT = metrics_pb2.RunSplit(split_id="s", reference="cells@v3#2", digest="d", dataset_id="c", version_id="v")
"""What the trainer says of every run."""
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code()


async def test_history_is_the_effective_timeline_bit_for_bit(platform, run_id):
    platform.trainer.runs[run_id] = "p"
    pod, second, trainer = platform.sender(run_id, 1), platform.sender(run_id, 2), platform.sender(run_id, 0)
    trainer.state(payloads.JOB_STATE_RUNNING)
    await trainer.send(*trainer.events)
    pod.started()
    pod.epoch(1, fitness=0.25)
    pod.epoch(2, fitness=0.5)
    pod.epoch(3, fitness=0.75)
    pod.add(final_metrics=events.FinalMetrics(values={"fitness": 0.75}))
    await pod.send(*pod.events)
    await platform.committed(pod)
    request = api.GetRunMetricsRequest(run_id=run_id)
    before = await platform.stub.GetRunMetrics(request, metadata=platform.admin)
    assert before.summary.best.epoch == 3
    assert before.final_metrics.metrics["fitness"] == 0.75
    second.started()
    second.rolled_back(2)
    odd = {
        "metrics/precision(B)": 0.0,
        "metrics/recall(B)": 0.0,
        "val/new_loss": math.inf,
        "lr/pg0": 5e-324,
        "x": math.nan,
        "zero": -0.0,
    }
    second.epoch(3, fitness=0.5, **odd)
    second.epoch(4, fitness=math.nan, **{"train/box_loss": -math.inf})
    await second.send(*second.events)
    await platform.committed(second)
    found = await platform.stub.GetRunMetrics(request, metadata=platform.admin)
    assert [(epoch.epoch, epoch.attempt, epoch.seq) for epoch in found.epochs] == [
        (1, 1, 3),
        (2, 1, 4),
        (3, 2, 9),
        (4, 2, 10),
    ]
    third = found.epochs[2]
    sent = dict(second.events[2].epoch.values)
    assert {key: value.hex() for key, value in third.raw.items()} == {key: value.hex() for key, value in sent.items()}
    assert (third.metrics["f1"], third.metrics["lr"], third.metrics["val_new_loss"]) == (0.0, 5e-324, math.inf)
    assert "x" not in third.metrics
    assert "zero" not in found.epochs[0].raw
    assert found.epochs[3].metrics["train_box_loss"] == -math.inf
    summary = found.summary
    assert (summary.epochs_done, summary.epochs, summary.state, summary.seq) == (4, 50, payloads.JOB_STATE_RUNNING, 10)
    assert (summary.best.epoch, summary.last.epoch) == (3, 4)  # of equals the later one; NaN is never the best
    assert not found.HasField("final_metrics")  # it was of epochs that are void
    superseded = platform.database.rows("SELECT epoch, superseded_by FROM epoch WHERE superseded_by IS NOT NULL")
    assert superseded == [(3, 8)]

    other = str(uuid.uuid4())
    quiet = platform.sender(other, 1, "q")
    await quiet.send(quiet.started())
    await platform.committed(quiet)
    ask = api.BatchGetSummariesRequest(run_ids=[run_id, other, str(uuid.uuid4()), run_id])
    answer = await platform.stub.BatchGetSummaries(ask, metadata=platform.admin)
    assert set(answer.summaries) == {run_id, other}
    assert answer.summaries[run_id] == summary
    assert answer.summaries[other] == metrics_pb2.RunSummary(seq=1)
    assert set((await platform.stub.BatchGetSummaries(ask, metadata=platform.user(p="viewer"))).summaries) == {run_id}
    many = api.BatchGetSummariesRequest(run_ids=[str(uuid.UUID(int=index)) for index in range(1001)])
    assert (
        await refused(platform.stub.BatchGetSummaries(many, metadata=platform.admin))
        is grpc.StatusCode.INVALID_ARGUMENT
    )


async def test_a_run_that_has_not_reported_has_an_empty_history(platform, run_id):
    platform.trainer.runs[run_id] = "p"
    assert await platform.stub.GetRunMetrics(
        api.GetRunMetricsRequest(run_id=run_id), metadata=platform.admin
    ) == api.GetRunMetricsResponse(summary=metrics_pb2.RunSummary(), split=SPLIT)
    assert not (await platform.stub.ListPlots(api.ListPlotsRequest(run_id=run_id), metadata=platform.admin)).plots
    assert not (await platform.stub.ListLogLines(api.ListLogLinesRequest(run_id=run_id), metadata=platform.admin)).lines


def plot(run_id, name, data, **changes):
    values = {
        "name": name, "title": name, "kind": payloads.PLOT_KIND_CURVE, "key": f"attempts/p/{run_id}/1/{name}", "content_type": "image/png",
        "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    return events.PlotStored(**{**values, **changes})


async def test_plots_by_url_and_by_bytes(platform, run_id):
    objects = ObjectStore(platform.settings())
    pod = platform.sender(run_id, 1)
    pod.started()
    for name in ("a.png", "b.png"):
        objects.write(f"attempts/p/{run_id}/1/{name}", PNG, "text/html")
        pod.add(plot=plot(run_id, name, PNG))
    objects.write(f"attempts/p/{run_id}/1/changed.png", PNG + b"<script>", "image/png")
    pod.add(plot=plot(run_id, "changed.png", PNG))
    pod.add(plot=plot(run_id, "gone.png", PNG))
    pod.add(plot=plot(run_id, "huge.png", PNG, size_bytes=20_000_000))
    pod.add(plot=plot(run_id, "a.png", PNG, title="again"))
    await pod.send(*pod.events)
    await platform.committed(pod)
    listed = (await platform.stub.ListPlots(api.ListPlotsRequest(run_id=run_id), metadata=platform.admin)).plots
    assert [item.name for item in listed] == ["a.png", "b.png", "changed.png", "gone.png", "huge.png"]
    last = listed[0]
    assert (last.title, last.run_id, last.content_type, last.size_bytes) == ("again", run_id, "image/png", len(PNG))
    assert last.kind == payloads.PLOT_KIND_CURVE
    left = last.url_expire_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(minutes=4) < left <= timedelta(minutes=5)
    async with httpx.AsyncClient() as client:
        response = await client.get(last.url)
        assert (response.status_code, response.content, response.headers["content-type"]) == (200, PNG, "image/png")
        assert (await client.put(last.url, content=b"x")).status_code == 403
        assert (await client.get(last.url.replace("a.png", "b.png"))).status_code == 403

    async def fetch(name, metadata=platform.admin, run=run_id):
        return await platform.stub.GetPlot(api.GetPlotRequest(run_id=run, name=name), metadata=metadata)

    body = await fetch("a.png")
    assert (body.content_type, body.data) == ("image/png", PNG)
    for name in ("changed.png", "gone.png", "none.png"):
        assert await refused(fetch(name)) is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as huge:
        await fetch("huge.png")
    assert huge.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(huge.value).details[0].Unpack(info)
    assert info.reason == "PLOT_TOO_LARGE"
    assert info.metadata == {"name": "huge.png", "size_bytes": "20000000", "max_bytes": str(3 * 1024**2)}
    assert await refused(fetch("../a.png")) is grpc.StatusCode.NOT_FOUND
    assert await refused(fetch("a.png", platform.user(q="admin"))) is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("judging", [False, True], ids=["run", "evaluation"])
async def test_metrics_come_with_plots_and_split(platform, run_id, judging):
    (platform.trainer.evaluations if judging else platform.trainer.runs)[run_id] = "p"
    pod = platform.sender(run_id, 1)
    pod.started()
    pod.add(final_metrics=events.FinalMetrics(values={"fitness": 0.75}))
    ObjectStore(platform.settings()).write(f"attempts/p/{run_id}/1/a.png", PNG)
    pod.add(plot=plot(run_id, "a.png", PNG))
    await pod.send(*pod.events)
    await platform.committed(pod)
    request = api.GetRunMetricsRequest(run_id=run_id)
    found = await platform.stub.GetRunMetrics(request, metadata=platform.user(p="viewer"))
    assert found.final_metrics.metrics["fitness"] == 0.75
    assert found.split == (metrics_pb2.RunSplit(split_id="s", reference="cells@v3#2") if judging else SPLIT)
    (picture,) = found.plots
    assert (picture.name, picture.run_id, picture.sha256) == ("a.png", run_id, hashlib.sha256(PNG).hexdigest())
    assert picture.url_expire_time.ToDatetime(UTC) > datetime.now(UTC)
    async with httpx.AsyncClient() as client:
        assert (await client.get(picture.url)).content == PNG
    assert (
        await refused(platform.stub.GetRunMetrics(request, metadata=platform.user(q="admin")))
        is grpc.StatusCode.NOT_FOUND
    )


async def test_the_url_of_a_plot_expires(platform, run_id, monkeypatch):
    ObjectStore(platform.settings()).write(f"attempts/p/{run_id}/1/a.png", PNG)
    pod = platform.sender(run_id, 1)
    pod.started()
    pod.add(plot=plot(run_id, "a.png", PNG))
    await pod.send(*pod.events)
    await platform.committed(pod)

    async def listed():
        (picture,) = (await platform.stub.ListPlots(api.ListPlotsRequest(run_id=run_id), metadata=platform.admin)).plots
        return picture

    lasting = await listed()
    monkeypatch.setattr("splitrail_metrics.history.service.URL_LIFETIME", timedelta(seconds=1))
    brief = await listed()
    async with httpx.AsyncClient() as client:

        async def is_refused():
            return (await client.get(brief.url)).status_code == 403

        await eventually(is_refused, "the URL has ended")
        assert (await client.get(lasting.url)).content == PNG, "the object is there: only the time has passed"


async def test_log_lines_page_by_page(platform, run_id):
    pod = platform.sender(run_id, 1)
    pod.started()
    for index in range(250):
        pod.log(f"line {index} <b>&amp;</b>")
        if index % 50 == 0:
            pod.epoch(index // 50 + 1)
    for _ in range(2 * PAGE_BYTES // 4096):
        pod.log("x" * 4096)
    async with pod.publishing():
        await platform.committed(pod)
    request = api.ListLogLinesRequest(run_id=run_id, page_size=100)
    texts, seqs, pages = [], [], 0
    while True:
        page = await platform.stub.ListLogLines(request, metadata=platform.admin)
        pages += 1
        texts += [line.log.text for line in page.lines]
        seqs += [line.seq for line in page.lines]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert texts == [event.log.text for event in pod.events if event.HasField("log")]
    assert seqs == [event.number for event in pod.events if event.HasField("log")]
    large = await platform.stub.ListLogLines(
        api.ListLogLinesRequest(run_id=run_id, page_size=1000, after_seq=260), metadata=platform.admin
    )
    assert large.lines[0].seq == 261
    assert large.ByteSize() < 2 * PAGE_BYTES
    assert large.next_page_token
    for bad in ({"page_size": -1}, {"page_token": "eA"}, {"page_token": request.page_token + "x"}, {"after_seq": -1}):
        call = platform.stub.ListLogLines(api.ListLogLinesRequest(run_id=run_id, **bad), metadata=platform.admin)
        assert await refused(call) is grpc.StatusCode.INVALID_ARGUMENT
    capped = await platform.stub.ListLogLines(
        api.ListLogLinesRequest(run_id=run_id, page_size=2**31 - 1, after_seq=260), metadata=platform.admin
    )
    assert capped.lines == large.lines


async def test_plots_page_by_page(platform, run_id):
    """By name, byte by byte, whatever the order in which they came; a token is good for its run only."""
    pod = platform.sender(run_id, 1)
    pod.started()
    names = [f"{letter}{number}.png" for number in (2, 10, 1) for letter in "bBa"]
    for name in names:
        pod.add(plot=plot(run_id, name, PNG))
    await pod.send(*pod.events)
    await platform.committed(pod)
    request, found = api.ListPlotsRequest(run_id=run_id, page_size=4), []
    while True:
        page = await platform.stub.ListPlots(request, metadata=platform.admin)
        found.append([item.name for item in page.plots])
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [len(page) for page in found] == [4, 4, 1]
    assert [name for page in found for name in page] == sorted(names)
    platform.trainer.runs[other := str(uuid.uuid4())] = "p"
    stolen = api.ListPlotsRequest(run_id=other, page_token=request.page_token)
    assert await refused(platform.stub.ListPlots(stolen, metadata=platform.admin)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_attempt_reads_its_own_watermark_only(platform, run_id):
    pod = platform.sender(run_id, 1)
    empty = await pod.watermark()
    assert empty == watermark_service_pb2.GetWatermarkResponse()
    await pod.send(pod.started())
    await platform.committed(pod)
    assert await pod.watermark() == watermark_service_pb2.GetWatermarkResponse(number=1, current_attempt=1)
    ask = watermark_service_pb2.GetWatermarkRequest(job_id=run_id, attempt=1)
    service = bearer(platform.trainer_signer.service_token())
    assert (await platform.watermarks.GetWatermark(ask, metadata=service)).number == 1
    stranger = bearer(platform.attempt_token(str(uuid.uuid4()), 1))
    elsewhere = bearer(platform.attempt_token(run_id, 1, "q"))
    for metadata in (stranger, elsewhere):
        assert await refused(platform.watermarks.GetWatermark(ask, metadata=metadata)) is grpc.StatusCode.NOT_FOUND
    assert (
        await refused(platform.watermarks.GetWatermark(ask, metadata=platform.admin))
        is grpc.StatusCode.PERMISSION_DENIED
    )
    assert (
        await refused(platform.stub.ListPlots(api.ListPlotsRequest(run_id=run_id), metadata=bearer(pod.token)))
        is grpc.StatusCode.PERMISSION_DENIED
    )


async def test_the_schema_is_served(platform):
    schema = await platform.stub.GetMetricSchema(api.GetMetricSchemaRequest(), metadata=platform.admin)
    described = {item.key: item for item in schema.metrics}
    assert described["mAP50_95"].direction == metrics_pb2.DIRECTION_HIGHER
    assert described["train_box_loss"].family == described["val_box_loss"].family
    assert (described["mask_mAP50"].title, described["mask_mAP50"].family_title) == (
        "Mask mAP50",
        "Mask mean average precision",
    )
    assert {item.key for item in schema.metrics if item.headline} >= {"mAP50", "mAP50_95", "top1"}
    assert all(item.title and item.family and item.family_title for item in schema.metrics)
