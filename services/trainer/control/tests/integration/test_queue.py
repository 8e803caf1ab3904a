"""The queue on a real Postgres: claims, leases, fencing, ends."""

import asyncio
import time
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any

import grpc
import psycopg
import pytest
from splitrail_common.errors import PlatformError, Reason
from splitrail_local.testing import eventually
from splitrail_trainer.jobs.domain import FailureCause, JobKind, JobState, cancel
from splitrail_trainer.jobs.store import RequestKnownError
from splitrail_trainer.models.domain import ArtifactKind
from splitrail_trainer.queue.domain import EvaluationReport, UploadedFile
from splitrail_trainer.queue.lease import Reaper
from splitrail_trainer.runs.store import ExternalIdTakenError

pytestmark = pytest.mark.integration


async def calls(world, caller):
    """Each call of an attempt, not yet awaited."""
    return {
        "heartbeat": lambda: world.attempts.heartbeat(caller, caller.job_id),
        "uploads": lambda: world.attempts.create_uploads(caller, caller.job_id, ["x.pt"]),
        "commit": lambda: world.attempts.commit_artifact(
            caller, caller.job_id, UploadedFile("x.pt", ArtifactKind.BEST_WEIGHTS, 1, "0" * 64)
        ),
        "complete": lambda: world.attempts.complete(caller, caller.job_id, {}, None),
        "fail": lambda: world.attempts.fail(caller, caller.job_id, FailureCause.PROCESS, "x"),
        "release": lambda: world.attempts.release(caller, caller.job_id),
    }


async def assert_fenced(world, caller, attempt: int):
    for name, call in (await calls(world, caller)).items():
        with pytest.raises(PlatformError) as error:
            await call()
        assert error.value.code is grpc.StatusCode.ABORTED, name
        assert error.value.reason == Reason.ERROR_REASON_ATTEMPT_FENCED
        assert error.value.metadata == {"attempt": str(caller.attempt), "current_attempt": str(attempt)}


async def column(world, query: str, *parameters: object) -> Any:
    """The only value of the only row."""
    async with world.pool.connection() as connection:
        row = await (await connection.execute(query, parameters)).fetchone()
    return next(iter(row.values()))


async def assert_whole_lease(world, job_id: str, before: datetime):
    """The lease began between `before`, by the database's clock, and now."""
    lease = timedelta(seconds=world.stores.jobs.lease_seconds)
    until = await column(world, "SELECT lease_until FROM job WHERE job_id = %s", job_id)
    assert before <= until - lease <= await column(world, "SELECT clock_timestamp()")


async def test_the_oldest_job_first_and_nothing_when_there_is_none(world):
    first, second = await world.add_run(), await world.add_run()
    assert (await world.run(second)).info.queue_position == 1
    claimed, caller = await world.claim(worker="pod-7")
    assert (claimed.job.job_id, claimed.job.attempt, caller.attempt) == (first, 1, 1)
    assert (caller.parts, caller.split_id, caller.project_id) == (
        ("train", "val"),
        claimed.work.data.split_id,
        "default",
    )
    run = await world.run(first)
    assert (run.info.job.state, run.info.job.worker, run.info.queue_position) == (JobState.RUNNING, "pod-7", None)
    assert run.info.start_time is not None
    assert (await world.run(second)).info.queue_position == 0
    await world.claim()
    assert await world.attempts.claim("pod", "default", list(JobKind)) is None
    assert await world.states(first) == ["queued", "running"]


async def test_a_queue_and_kinds_are_kept_apart(world):
    job_id = await world.add_run(queue="gpu")
    assert await world.attempts.claim("pod", "default", list(JobKind)) is None
    assert await world.attempts.claim("pod", "gpu", [JobKind.EVALUATE]) is None
    assert (await world.claim("gpu"))[0].job.job_id == job_id


async def test_two_hundred_jobs_and_eight_claimers_none_twice(world):
    made = [await world.add_run() for _ in range(200)]
    claimed: list[str] = []

    async def claimer(name: str) -> None:
        while (got := await world.attempts.claim(name, "default", list(JobKind))) is not None:
            assert got.job.attempt == 1
            claimed.append(got.job.job_id)

    await asyncio.gather(*(claimer(f"pod-{number}") for number in range(8)))
    assert sorted(claimed) == sorted(made)


async def test_two_claims_at_once_get_one_job(world):
    job_id = await world.add_run()
    got = await asyncio.gather(
        *(world.attempts.claim(f"pod-{number}", "default", list(JobKind)) for number in range(6))
    )
    assert [item.job.job_id for item in got if item is not None] == [job_id]


async def test_a_lease_that_runs_out_gives_the_job_away_and_fences_the_first(world):
    world.shorten_leases()
    job_id = await world.add_run()
    _, first = await world.claim(worker="lost")
    claimed, second = await world.claim_lapsed("other")
    assert (claimed.job.job_id, second.attempt, claimed.job.failures, claimed.job.worker) == (job_id, 2, 1, "other")
    await assert_fenced(world, first, 2)
    await world.attempts.heartbeat(second, job_id)
    assert await world.states(job_id) == ["queued", "running", "queued", "running"]


async def test_heartbeats_keep_the_job(world):
    job_id = await world.add_run()
    _, first = await world.claim()
    for _ in range(3):
        await column(
            world, "UPDATE job SET lease_until = clock_timestamp() WHERE job_id = %s RETURNING lease_until", job_id
        )  # time has passed
        before = await column(world, "SELECT clock_timestamp()")
        await world.attempts.heartbeat(first, job_id)
        await assert_whole_lease(world, job_id, before)
        assert await world.attempts.claim("thief", "default", list(JobKind)) is None
    assert (await world.run(job_id)).info.job.attempt == 1


async def test_the_reaper_shows_the_lost_pod_and_the_pod_may_return_while_nobody_took_over(world):
    world.shorten_leases()
    job_id = await world.add_run()
    _, first = await world.claim(worker="cut off")
    reaper = Reaper(world.database, world.stores.queue, world.stores.jobs, world.guard)

    async def queued():
        await reaper.step()
        run = await world.run(job_id)
        return run if run.info.job.state is JobState.QUEUED else None

    run = await eventually(queued, "the job is queued again", 20)
    assert (run.info.job.cause, run.info.job.failures, run.info.job.lapsed) == (FailureCause.LOST_POD, 1, True)
    orders = await world.attempts.heartbeat(first, job_id)
    assert not orders.cancel
    run = await world.run(job_id)
    assert (run.info.job.state, run.info.job.attempt, run.info.job.failures) == (JobState.RUNNING, 1, 0)
    await eventually(queued, "the job is queued again", 20)
    claimed, _ = await world.claim()
    assert claimed.job.attempt == 2
    await assert_fenced(world, first, 2)


async def test_a_job_whose_pods_are_lost_too_often_fails_and_is_announced(world):
    world.shorten_leases()
    job_id = await world.add_run(max_attempts=2)
    await world.claim()
    await world.claim_lapsed()
    reaper = Reaper(world.database, world.stores.queue, world.stores.jobs, world.guard)

    async def failed():
        await reaper.step()
        run = await world.run(job_id)
        return run if run.info.job.ended else None

    run = await eventually(failed, "the job has failed", 20)
    assert (run.info.job.state, run.info.job.cause, run.info.job.failures) == (
        JobState.FAILED,
        FailureCause.LOST_POD,
        2,
    )
    assert run.info.end_time is not None
    assert (await world.states(job_id))[-1] == "failed"


async def test_a_claim_ends_what_has_failed_too_often_and_goes_on(world):
    world.shorten_leases()
    hopeless = await world.add_run(max_attempts=1)
    await world.claim()
    other = await world.add_run()
    await world.claim()
    claimed, _ = await world.claim_lapsed()
    assert claimed.job.job_id == other
    assert (await world.run(hopeless)).info.job.state is JobState.FAILED


async def test_no_lease_lapses_after_an_outage_until_pods_had_their_time(world):
    world.shorten_leases()
    await world.add_run()
    await world.claim()
    world.guard.lost()
    world.guard.heard()
    await asyncio.sleep(2 * world.stores.jobs.lease_seconds)
    assert await world.attempts.claim("thief", "default", list(JobKind)) is None
    await Reaper(world.database, world.stores.queue, world.stores.jobs, world.guard).step()
    assert await world.attempts.claim("thief", "default", list(JobKind)) is None
    for _ in range(9):
        world.clock.now += world.guard_seconds / 8
        world.guard.heard()
    assert await world.attempts.claim("other", "default", list(JobKind)) is not None


async def test_the_lease_is_kept_by_the_databases_clock_and_is_as_long_as_said(world, monkeypatch):
    class AnHourAhead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=1)

    job_id = await world.add_run()
    before = await column(world, "SELECT clock_timestamp()")
    ahead = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: ahead)
    monkeypatch.setattr("splitrail_trainer.jobs.store.datetime", AnHourAhead)
    await world.attempts.claim("pod", "default", list(JobKind))
    await assert_whole_lease(world, job_id, before)


async def test_a_lease_begins_when_it_is_written_not_when_the_call_began_to_wait(world):
    job_id = await world.add_run()
    _, holder = await world.claim()
    async with world.pool.connection() as connection:
        await connection.execute("SELECT FROM job WHERE job_id = %s FOR UPDATE", (job_id,))
        heartbeat = asyncio.create_task(world.attempts.heartbeat(holder, job_id))

        async def waiting():
            return await column(
                world,
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )

        await eventually(waiting, "the heartbeat waits for the row", 20)
        before = await column(world, "SELECT clock_timestamp()")
    await heartbeat
    await assert_whole_lease(world, job_id, before)


async def test_complete_is_idempotent_and_final(world):
    job_id = await world.add_run()
    _, holder = await world.claim()
    for _ in range(2):
        await world.attempts.complete(holder, job_id, {"torch": "2.15"}, None)
    run = await world.run(job_id)
    assert (run.info.job.state, run.versions) == (JobState.SUCCEEDED, {"torch": "2.15"})
    assert await world.states(job_id) == ["queued", "running", "succeeded"]
    for name in ("heartbeat", "fail", "release"):
        with pytest.raises(PlatformError, match="overtaken"):
            await (await calls(world, holder))[name]()


async def test_an_overtaken_attempt_cannot_complete_what_its_successor_has_completed(world):
    world.shorten_leases()
    job_id = await world.add_run()
    _, first = await world.claim()
    _, second = await world.claim_lapsed()
    await world.attempts.complete(second, job_id, {"torch": "2.15"}, None)
    await assert_fenced(world, first, 2)
    assert (await world.run(job_id)).versions == {"torch": "2.15"}


async def test_a_training_has_no_evaluation(world):
    job_id = await world.add_run()
    _, holder = await world.claim()
    with pytest.raises(PlatformError) as error:
        await world.attempts.complete(holder, job_id, {}, EvaluationReport(None, b""))
    assert [item.field for item in error.value.violations] == ["evaluation"]
    assert (await world.run(job_id)).info.job.state is JobState.RUNNING


@pytest.mark.parametrize(
    ("cause", "retried"),
    [
        (FailureCause.DATA, False),
        (FailureCause.NAN, False),
        (FailureCause.ARGUMENTS, False),
        (FailureCause.PROCESS, True),
        (FailureCause.NONE, True),
    ],
)
async def test_failures_that_cannot_be_helped_end_the_job(world, cause, retried):
    job_id = await world.add_run()
    _, holder = await world.claim()
    assert await world.attempts.fail(holder, job_id, cause, "the last lines") is retried
    job = (await world.run(job_id)).info.job
    assert (job.state, job.cause, job.message) == (
        JobState.QUEUED if retried else JobState.FAILED,
        cause,
        "the last lines",
    )
    await assert_fenced(world, holder, 1)


async def test_failures_are_tried_again_up_to_the_maximum(world):
    job_id = await world.add_run(max_attempts=3)
    for attempt in (1, 2, 3):
        claimed, holder = await world.claim()
        assert claimed.job.attempt == attempt
        assert await world.attempts.fail(holder, job_id, FailureCause.HOST_MEMORY, "killed") is (attempt < 3)
    assert (await world.run(job_id)).info.job.state is JobState.FAILED


async def test_releases_do_not_count(world):
    job_id = await world.add_run(max_attempts=1)
    for attempt in range(1, 5):
        claimed, holder = await world.claim()
        assert (claimed.job.attempt, claimed.job.failures) == (attempt, 0)
        await world.attempts.release(holder, job_id)


async def end(world, job_id: str) -> None:
    """Asks for the end, as CancelRun does."""
    async with world.database.transaction() as transaction:
        job = await world.stores.jobs.lock(transaction, job_id)
        await world.stores.jobs.save(transaction, job, cancel(job))


async def test_a_running_job_is_cancelled_through_its_pod_or_by_its_loss(world):
    told, lost = await world.add_run(), await world.add_run()
    _, holder = await world.claim()
    world.shorten_leases()
    await world.claim()
    await end(world, told)
    await end(world, lost)
    assert (await world.attempts.heartbeat(holder, told)).cancel
    await world.attempts.release(holder, told)
    assert (await world.run(told)).info.job.state is JobState.CANCELLED

    async def cancelled():
        await Reaper(world.database, world.stores.queue, world.stores.jobs, world.guard).step()
        return (await world.run(lost)).info.job.state is JobState.CANCELLED

    await eventually(cancelled, "the job is cancelled", 20)
    assert await world.states(lost) == ["queued", "running", "cancelled"]
    assert await world.attempts.claim("pod", "default", list(JobKind)) is None


async def test_a_token_is_renewed_when_half_of_its_life_is_gone(world):
    job_id = await world.add_run()
    _, holder = await world.claim()
    assert (await world.attempts.heartbeat(holder, job_id)).token == ""
    renewed = (await world.attempts.heartbeat(replace(holder, expires=holder.expires - 1900), job_id)).token
    again = world.verifier.verify(renewed)
    assert (again.job_id, again.attempt, again.parts, again.split_id) == (job_id, 1, holder.parts, holder.split_id)
    assert again.expires >= holder.expires


async def test_a_request_id_names_one_run_of_a_project(world):
    await world.add_run(request_id="once")
    with pytest.raises(RequestKnownError):
        await world.add_run(request_id="once")
    await world.add_run(request_id="once", project_id="other")
    run = await world.run(await world.add_run())
    assert run.reference == "cells/2", "a refused request takes no number"


async def test_an_external_id_names_one_run_of_a_project(world):
    await world.add_run(external_id="mlops-7")
    with pytest.raises(ExternalIdTakenError):
        await world.add_run(external_id="mlops-7")
    await world.add_run(external_id="mlops-7", project_id="other")
    for _ in range(2):
        await world.add_run()
    assert (await world.run(await world.add_run(external_id="mlops-8"))).reference == "cells/4", (
        "a refused run takes no number"
    )


async def test_runs_that_shared_an_external_id_before_it_was_unique_keep_a_trace_of_it(world):
    made = [await world.add_run() for _ in range(4)]
    shared, long = "mlops-7", "x" * 256
    async with world.pool.connection() as connection:
        await connection.execute("DROP INDEX run_external_id_unique")
        for external_id, job_ids in ((shared, made[:2]), (long, made[2:])):
            await connection.execute("UPDATE run SET external_id = %s WHERE job_id = ANY(%s)", (external_id, job_ids))
        await connection.execute((files("splitrail_trainer") / "migrations" / "0003_external_ids.sql").read_bytes())
    assert [(await world.run(job_id)).external_id for job_id in made] == [
        shared,
        f"{shared}~{made[1]}",
        long,
        f"{'x' * 219}~{made[3]}",
    ]


async def test_the_database_itself_refuses_impossible_jobs(world):
    job_id = await world.add_run()
    for change in (
        "state = 'running'",
        "state = 'failed'",
        "attempt = -1",
        "lapsed = true, attempt = 0, state = 'running'",
        "cancel_requested = true",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            async with world.pool.connection() as connection:
                await connection.execute(f"UPDATE job SET {change} WHERE job_id = %s", (job_id,))


async def test_an_event_is_written_with_its_change_or_not_at_all(world):
    job_id = await world.add_run()

    async def killed_before_the_commit():
        async with world.database.transaction() as transaction:
            job = await world.stores.jobs.lock(transaction, job_id)
            await world.stores.jobs.save(transaction, job, cancel(job))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await killed_before_the_commit()
    assert (await world.run(job_id)).info.job.state is JobState.QUEUED
    assert await world.states(job_id) == ["queued"]
