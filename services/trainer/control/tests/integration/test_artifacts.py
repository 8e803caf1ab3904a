"""Files of attempts in a real S3: uploads, the resume point, what is removed."""

import hashlib

import grpc
import pytest
from splitrail_common.errors import PlatformError, Reason
from splitrail_common.objects import ObjectStore
from splitrail_trainer.jobs.domain import FailureCause
from splitrail_trainer.models.domain import ArtifactKind
from splitrail_trainer.models.sweeper import Sweeper
from splitrail_trainer.queue.domain import UploadedFile

pytestmark = pytest.mark.integration


async def test_a_checkpoint_becomes_the_resume_point_of_the_next_attempt(world):
    job_id = await world.add_run(epochs=5, max_attempts=2)
    _, holder = await world.claim()
    await world.attempts.fail(holder, job_id, FailureCause.PROCESS, "x")
    _, holder = await world.claim()
    key = await world.leave(holder, "epoch-2.ckpt", ArtifactKind.CHECKPOINT, epoch=2, data=b"two")
    assert key == f"attempts/default/{job_id}/2/epoch-2.ckpt"
    run = await world.run(job_id)
    assert (run.checkpoint.epoch, run.checkpoint.attempt, run.checkpoint.file.key, run.info.job.failures) == (
        2,
        2,
        key,
        0,
    )
    assert await world.attempts.fail(holder, job_id, FailureCause.PROCESS, "x"), "failures count since the checkpoint"
    claimed, _ = await world.claim()
    assert claimed.work.checkpoint.file.sha256 == hashlib.sha256(b"two").hexdigest()
    assert world.get(claimed.url) == b"two"


async def test_only_the_latest_checkpoint_is_kept(world):
    job_id = await world.add_run(epochs=5)
    _, holder = await world.claim()
    keys = [
        await world.leave(holder, f"epoch-{epoch}.ckpt", ArtifactKind.CHECKPOINT, epoch=epoch) for epoch in (1, 2, 3)
    ]
    late = await world.leave(holder, "epoch-2-late.ckpt", ArtifactKind.CHECKPOINT, epoch=2)
    best = await world.leave(holder, "best.pt", ArtifactKind.BEST_WEIGHTS)
    assert world.stores.artifacts.bytes_superseded.is_set()
    await Sweeper(world.database, world.stores.artifacts, world.objects).step()
    there = {key: world.objects.stat(key) is not None for key in [*keys, late, best]}
    assert there == {keys[0]: False, keys[1]: False, keys[2]: True, late: False, best: True}
    run = await world.run(job_id)
    assert run.checkpoint.epoch == 3, "an earlier epoch of the same attempt never replaces a later one"
    assert {item.name for item in run.artifacts} == {"epoch-3.ckpt", "best.pt"}
    async with world.database.transaction() as transaction:
        assert await world.stores.artifacts.superseded_keys(transaction) == []


async def test_the_resume_point_survives_even_when_it_is_marked(world):
    job_id = await world.add_run(epochs=5)
    _, holder = await world.claim()
    key = await world.leave(holder, "epoch-1.ckpt", ArtifactKind.CHECKPOINT, epoch=1)
    async with world.pool.connection() as connection:
        await connection.execute("UPDATE artifact SET superseded = true")
    assert await superseded(world) == []
    async with world.database.transaction() as transaction:
        await world.stores.artifacts.forget_superseded(transaction, [key])
    await Sweeper(world.database, world.stores.artifacts, world.objects).step()
    assert world.objects.stat(key) is not None
    async with world.pool.connection() as connection:
        rows = await (await connection.execute("SELECT key FROM artifact WHERE job_id = %s", (job_id,))).fetchall()
    assert [row["key"] for row in rows] == [key]


async def superseded(world) -> list[str]:
    """Keys of the checkpoints that wait for their removal."""
    async with world.database.transaction() as transaction:
        return await world.stores.artifacts.superseded_keys(transaction)


async def test_what_s3_refuses_to_remove_is_tried_again(world, settings):
    await world.add_run(epochs=5)
    _, holder = await world.claim()
    old, kept = [
        await world.leave(holder, f"epoch-{epoch}.ckpt", ArtifactKind.CHECKPOINT, epoch=epoch) for epoch in (1, 2)
    ]
    reader = {"s3_access_key": settings.s3_reader_access_key, "s3_secret_key": settings.s3_reader_secret_key}
    may_not_remove = ObjectStore(settings.model_copy(update=reader))
    await Sweeper(world.database, world.stores.artifacts, may_not_remove).step()
    assert await superseded(world) == [old]
    await Sweeper(world.database, world.stores.artifacts, world.objects).step()
    assert await superseded(world) == []
    assert {key: world.objects.stat(key) is not None for key in (old, kept)} == {old: False, kept: True}


async def test_a_later_attempt_may_begin_again_from_an_earlier_epoch(world):
    job_id = await world.add_run(epochs=5)
    _, holder = await world.claim()
    await world.leave(holder, "epoch-3.ckpt", ArtifactKind.CHECKPOINT, epoch=3)
    await world.attempts.release(holder, job_id)
    _, holder = await world.claim()
    await world.leave(holder, "epoch-1.ckpt", ArtifactKind.CHECKPOINT, epoch=1)
    run = await world.run(job_id)
    assert (run.checkpoint.epoch, run.checkpoint.attempt) == (1, 2)


async def test_what_s3_does_not_hold_is_not_recorded(world):
    job_id = await world.add_run()
    _, holder = await world.claim()
    await world.upload(holder, "short.pt", b"123")
    for name, size in (("missing.pt", 3), ("short.pt", 4)):
        with pytest.raises(PlatformError) as error:
            await world.attempts.commit_artifact(
                holder, job_id, UploadedFile(name, ArtifactKind.BEST_WEIGHTS, size, "0" * 64)
            )
        assert (error.value.code, error.value.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            Reason.ERROR_REASON_UPLOAD_MISSING,
        )
    assert (await world.run(job_id)).artifacts == ()


async def test_a_file_is_recorded_once_and_another_of_its_name_refused(world):
    job_id = await world.add_run()
    _, holder = await world.claim()
    for _ in range(2):
        await world.leave(holder, "best.pt", ArtifactKind.BEST_WEIGHTS, data=b"one")
    with pytest.raises(PlatformError) as error:
        await world.leave(holder, "best.pt", ArtifactKind.BEST_WEIGHTS, data=b"two")
    assert error.value.code is grpc.StatusCode.ALREADY_EXISTS
    assert [item.file.sha256 for item in (await world.run(job_id)).artifacts] == [hashlib.sha256(b"one").hexdigest()]


async def test_an_epoch_beyond_the_run_is_refused(world):
    await world.add_run(epochs=2)
    _, holder = await world.claim()
    with pytest.raises(PlatformError) as error:
        await world.leave(holder, "epoch-3.ckpt", ArtifactKind.CHECKPOINT, epoch=3)
    assert [item.field for item in error.value.violations] == ["epoch"]


async def test_a_fenced_attempt_leaves_nothing(world):
    world.shorten_leases()
    job_id = await world.add_run(epochs=5)
    _, first = await world.claim()
    await world.leave(first, "epoch-1.ckpt", ArtifactKind.CHECKPOINT, epoch=1)
    await world.upload(first, "epoch-4.ckpt", b"late")
    await world.claim_lapsed()
    with pytest.raises(PlatformError, match="overtaken"):
        await world.attempts.commit_artifact(
            first,
            job_id,
            UploadedFile("epoch-4.ckpt", ArtifactKind.CHECKPOINT, 4, hashlib.sha256(b"late").hexdigest(), 4),
        )
    assert (await world.run(job_id)).checkpoint.epoch == 1
