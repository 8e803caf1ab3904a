"""Loops that outlive outages, leases that are kept while work goes on, and an app that is served to its end."""

import asyncio

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from splitrail.internal.metrics.v1 import watermark_service_pb2, watermark_service_pb2_grpc
from splitrail.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from splitrail.trainer.v1 import run_service_pb2
from splitrail_common.background import LeaseLostError, hold_lease, keep_going
from splitrail_common.server import App, Draining, Servicer, serving
from splitrail_common.tokens import Verifier

METRICS = metrics_service_pb2.DESCRIPTOR.services_by_name["MetricsService"]
WATERMARKS = watermark_service_pb2.DESCRIPTOR.services_by_name["WatermarkService"]
RUNS = run_service_pb2.DESCRIPTOR.services_by_name["RunService"]


async def test_an_outage_is_outlived_and_a_defect_is_not():
    steps = iter([None, psycopg.OperationalError("away"), OSError("store"), True, ValueError("a defect")])

    async def step():
        found = next(steps)
        if isinstance(found, Exception):
            raise found
        return found

    with pytest.raises(ValueError, match="a defect"):
        await asyncio.wait_for(keep_going(step, name="test", seconds=0.001, retried=(OSError,)), 10)
    assert next(steps, "over") == "over"


async def test_a_loop_is_woken_and_ends_when_the_process_drains():
    wake, draining, count = asyncio.Event(), Draining(), 0
    stepped = asyncio.Event()

    async def step():
        nonlocal count
        count += 1
        stepped.set()

    loop = asyncio.create_task(keep_going(step, name="test", seconds=600, wake=wake, draining=draining))
    async with asyncio.timeout(10):
        for expected in (1, 2, 3):
            await stepped.wait()
            stepped.clear()
            assert count == expected
            wake.set()
        draining.event.set()
        await loop


async def test_work_keeps_its_lease_through_an_outage():
    renewals, kept = [True, psycopg.OperationalError("away"), True], asyncio.Event()

    async def renew():
        found = renewals.pop(0)
        if isinstance(found, Exception):
            raise found
        if not renewals:
            kept.set()
        return found

    async def work():
        await kept.wait()
        return "done"

    assert await asyncio.wait_for(hold_lease(work(), renew, lease_seconds=0.003), 10) == "done"


async def test_work_is_cancelled_when_its_lease_is_lost():
    over = asyncio.Event()

    async def lost():
        return False

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            over.set()

    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(hold_lease(work(), lost, lease_seconds=0.003), 10)
    assert over.is_set()


async def listed(channel: grpc.aio.Channel) -> set[str]:
    async def requests():
        yield reflection_pb2.ServerReflectionRequest(list_services="*")

    async for answer in reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(requests()):
        return {service.name for service in answer.list_services_response.service}
    raise AssertionError("no answer")


def servicer() -> Servicer:
    nothing = metrics_service_pb2_grpc.MetricsServiceServicer()
    return Servicer(
        METRICS, lambda server: metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(nothing, server)
    )


async def test_an_app_is_served_with_health_and_reflection_until_it_drains():
    app = App([servicer()], Verifier({}), reflected=[RUNS])
    async with serving(app, "127.0.0.1:0") as running, grpc.aio.insecure_channel(running.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", METRICS.full_name):
            assert (
                await health.Check(health_pb2.HealthCheckRequest(service=name))
            ).status == health_pb2.HealthCheckResponse.SERVING
        assert {METRICS.full_name, RUNS.full_name} <= await listed(channel)
        waiting = asyncio.create_task(running.wait(app.draining))
        app.draining.event.set()
        await asyncio.wait_for(waiting, 10)


async def test_a_service_lists_what_it_serves_to_the_public():
    watermarks = watermark_service_pb2_grpc.WatermarkServiceServicer()
    internal = Servicer(
        WATERMARKS, lambda server: watermark_service_pb2_grpc.add_WatermarkServiceServicer_to_server(watermarks, server)
    )
    async with (
        serving(App([servicer(), internal], Verifier({})), "127.0.0.1:0") as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        names = await listed(channel)
    assert METRICS.full_name in names
    assert not names & {RUNS.full_name, WATERMARKS.full_name}


async def test_a_background_task_that_fails_or_returns_ends_the_process():
    async def fails():
        raise ValueError("a defect")

    async def returns():
        return

    with pytest.raises(ValueError, match="a defect"):
        async with serving(
            App([servicer()], Verifier({}), background=[fails]), "127.0.0.1:0", grace_seconds=0
        ) as running:
            await asyncio.wait_for(running.wait(Draining()), 10)
    with pytest.raises(RuntimeError, match="background task ended"):
        async with serving(
            App([servicer()], Verifier({}), background=[returns]), "127.0.0.1:0", grace_seconds=0
        ) as running:
            await asyncio.wait_for(running.wait(Draining()), 10)
