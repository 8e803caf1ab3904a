"""Order, duplicates, fencing, poison: what is committed from whatever arrives."""

import asyncio
import random
import uuid

import psycopg
import pytest
from splitrail.events.v1 import event_pb2 as payloads
from splitrail.internal.events.v1 import run_event_pb2 as events
from splitrail_common.messaging import TOKEN_HEADER, event_subject
from splitrail_common.tokens import Signer
from splitrail_local.testing import eventually

pytestmark = pytest.mark.integration


def seqs(platform, run_id):
    return platform.database.rows("SELECT seq, attempt, number, kind FROM event WHERE run_id = %s ORDER BY seq", run_id)


def quarantined(platform):
    return [row[0] for row in platform.database.rows("SELECT reason FROM quarantine ORDER BY id")]


async def test_a_feed_through_the_publisher_is_gapless_and_in_order(platform, run_id):
    pod, trainer = platform.sender(run_id, 1), platform.sender(run_id, 0)
    async with pod.publishing(), trainer.publishing():
        trainer.state(payloads.JOB_STATE_RUNNING)
        pod.started()
        for epoch in range(1, 301):
            pod.epoch(epoch)
        await platform.committed(pod)
        trainer.state(payloads.JOB_STATE_SUCCEEDED)
        await platform.committed(trainer)
    rows = seqs(platform, run_id)
    assert [row[0] for row in rows] == list(range(1, 304))
    assert [row[2] for row in rows if row[1] == 1] == list(range(1, 302))
    assert platform.database.rows("SELECT project_id, last_epoch, closed, state FROM feed") == [("p", 300, True, 3)]


async def test_duplicates_and_reordering_end_in_one_row_each(platform, run_id):
    pod = platform.sender(run_id, 1)
    pod.started()
    for epoch in range(1, 31):
        pod.epoch(epoch)
    shuffled = pod.events * 3
    random.Random(1).shuffle(shuffled)
    await pod.send(*shuffled)
    async with pod.publishing():  # what came too early was dropped: the publisher fills the gaps
        await platform.committed(pod)
    assert [(row[0], row[2]) for row in seqs(platform, run_id)] == [(number, number) for number in range(1, 32)]


async def test_what_comes_after_a_gap_waits_for_the_publisher(platform, run_id):
    pod = platform.sender(run_id, 1)
    pod.started()
    for epoch in range(1, 6):
        pod.epoch(epoch)
    await pod.send(*pod.events[:2], *pod.events[4:])
    await platform.committed(pod, 2)
    other = platform.sender(run_id.replace(run_id[0], "f", 1), 1)
    other.started()
    await other.send(*other.events)
    await platform.committed(other)  # the messages above have been looked at
    assert len(seqs(platform, run_id)) == 2
    async with pod.publishing():
        await platform.committed(pod)
    assert [row[2] for row in seqs(platform, run_id)] == list(range(1, 7))


async def test_a_replaced_attempt_is_refused_and_rollback_supersedes(platform, run_id):
    first, second = platform.sender(run_id, 1), platform.sender(run_id, 2)
    first.started()
    for epoch in (1, 2, 3):
        first.epoch(epoch)
    await first.send(*first.events)
    await platform.committed(first)
    second.started()
    await second.send(*second.events)
    await platform.committed(second)
    late = first.epoch(4)
    await first.send(late)
    second.rolled_back(1)
    second.epoch(2, fitness=0.9)
    second.epoch(3)
    await second.send(*second.events[1:])
    await platform.committed(second)
    watermark = await first.watermark()
    assert (watermark.number, watermark.current_attempt, watermark.last_epoch) == (4, 2, 3)
    rows = platform.database.rows(
        "SELECT epoch, attempt, superseded_by FROM epoch WHERE run_id = %s ORDER BY seq", run_id
    )
    assert rows == [(1, 1, None), (2, 1, 6), (3, 1, 6), (2, 2, None), (3, 2, None)]
    with pytest.raises(Exception, match="overtaken"):
        await first.publisher.run()


async def test_poison_of_a_known_sender_does_not_block(platform, run_id):
    pod = platform.sender(run_id, 1)
    pod.started()
    pod.epoch(7)
    another = f"attempts/p/{uuid.uuid4()}/1/x.png"
    for key in ("projects/p/assets/0", another):
        pod.add(plot=events.PlotStored(name="x.png", key=key, content_type="image/png", sha256="0" * 64))
    pod.add(log=payloads.LogLine(text="x" * 5000))
    pod.add()
    pod.epoch(1, **{"odd": float("nan"), "train/box_loss": float("inf")})
    async with pod.publishing():
        await platform.committed(pod)
    assert [row[2] for row in seqs(platform, run_id)] == [1, 7]
    assert quarantined(platform) == ["epoch", "plot", "plot", "payload", "payload"]
    assert platform.database.rows("SELECT reason, total FROM quarantine_count ORDER BY reason") == [
        ("epoch", 1),
        ("payload", 2),
        ("plot", 2),
    ]


async def test_what_the_database_refuses_is_quarantined_alone(platform, run_id):
    pod = platform.sender(run_id, 1)
    pod.started()
    pod.epoch(1)
    pod.add(plot=events.PlotStored(
        name="a.png", key=f"attempts/p/{run_id}/1/a.png", content_type="image/png", sha256="0" * 64, kind=payloads.PLOT_KIND_CURVE, title="bad"
    ))  # fmt: skip
    pod.epoch(2)
    with psycopg.connect(platform.database.dsn) as connection:
        connection.execute("ALTER TABLE plot ADD CONSTRAINT refuses CHECK (title <> 'bad')")
    async with pod.publishing():
        await platform.committed(pod)
    assert [row[2] for row in seqs(platform, run_id)] == [1, 2, 4]
    assert quarantined(platform) == ["database"]


async def test_nobody_can_report_for_another(platform, run_id):
    victim = platform.sender(run_id, 1)
    victim.started()
    await victim.send(*victim.events)
    await platform.committed(victim)
    event = victim.epoch(1)
    stranger = Signer.from_file("splitrail-split", platform.stack.signing_key_file("splitrail-split"))
    forged = [
        "",
        "not a token",
        platform.attempt_token(run_id, 1, signer=stranger),
        platform.attempt_token(run_id, 2),
        platform.attempt_token("0" * 8 + run_id[8:], 1),
        platform.attempt_token(run_id, 1, lifetime=-60),
        platform.trainer_signer.service_token(),
        platform.stack.user_token({"*": "admin"}),
        platform.stack.worker_token,
    ]
    for token in forged:
        await victim.send(event, token=token)
    state = platform.sender(run_id, 0)
    state.state(payloads.JOB_STATE_FAILED)
    for token in (stranger.service_token(), victim.token, platform.stack.user_token({"*": "admin"})):
        await state.send(*state.events, token=token)
    await eventually(lambda: len(quarantined(platform)) == len(forged) + 3, "all forgeries are quarantined")
    assert set(quarantined(platform)) == {"token"}
    assert (await victim.watermark()).number == 1
    assert (await state.watermark()).number == 0
    await victim.send(event)
    await platform.committed(victim)


async def test_the_project_is_the_tokens(platform, run_id):
    pod, trainer = platform.sender(run_id, 1), platform.sender(run_id, 0)
    pod.started()
    pod.events[0].project_id = "other"
    await pod.send(*pod.events)
    await platform.committed(pod)
    trainer.state(payloads.JOB_STATE_RUNNING)
    await trainer.send(*trainer.events)
    await platform.committed(trainer)
    foreign = trainer.state(payloads.JOB_STATE_SUCCEEDED)
    foreign.project_id = "other"
    await trainer.send(foreign)
    await platform.committed(trainer)
    assert quarantined(platform) == ["project", "project"]
    assert platform.database.rows("SELECT project_id, last_seq, closed FROM feed") == [("p", 1, False)]


async def test_garbage_is_quarantined_without_harm(platform, run_id):
    pod = platform.sender(run_id, 1)
    subject, headers = event_subject(run_id, "epoch"), {TOKEN_HEADER: pod.token}
    event = pod.started()
    wrong = events.RunEvent()
    wrong.CopyFrom(event)
    wrong.number = -1
    odd = events.RunEvent()
    odd.CopyFrom(event)
    odd.job_id = "../../etc"
    for where, data in [
        (subject, b"\xff\xff\xff"),
        (subject, b""),
        (subject, event.SerializeToString()),
        ("splitrail.runs.x.attempt_started", event.SerializeToString()),
        ("splitrail.runs.a.b.c.d", b"x" * 1000),
        (event_subject(run_id, "attempt_started"), wrong.SerializeToString()),
        ("splitrail.runs.x.attempt_started", odd.SerializeToString()),
    ]:
        await platform.jetstream.publish(where, data, headers=headers)
    # A header that nats-py itself takes for the server's word.
    await platform.jetstream.publish(subject, b"x", headers={"Status": "503"})
    await platform.nats.publish("splitrail.runs.\u2028.log", b"x")
    await pod.send(event)
    await platform.committed(pod)
    await eventually(lambda: len(quarantined(platform)) == 9, "all garbage is quarantined")
    assert len(seqs(platform, run_id)) == 1


async def test_bytes_that_the_client_library_cannot_parse_do_not_stop_ingest(platform, run_id):
    """A subject that is no UTF-8: any pod could publish one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.broker.port)
    await reader.readline()
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\nPUB splitrail.runs.\xff\xfe.log 1\r\nx\r\nPING\r\n')
    await writer.drain()
    while (await reader.readline()).strip() != b"PONG":
        pass
    pod = platform.sender(run_id, 1)
    pod.started()
    pod.epoch(1)
    async with pod.publishing():
        await platform.committed(pod, seconds=10)
    assert quarantined(platform) == ["encoding"]
    writer.close()


async def test_nothing_follows_the_end(platform, run_id):
    pod, trainer = platform.sender(run_id, 1), platform.sender(run_id, 0)
    pod.started()
    await pod.send(*pod.events)
    await platform.committed(pod)
    trainer.state(payloads.JOB_STATE_CANCELLED)
    await trainer.send(*trainer.events)
    await platform.committed(trainer)
    await pod.send(pod.epoch(1))
    again = platform.sender(run_id, 2)
    await again.send(again.started())
    marker = platform.sender(run_id.replace(run_id[0], "f", 1), 1)
    await marker.send(marker.started())
    await platform.committed(marker)
    watermark = await pod.watermark()
    assert (watermark.number, watermark.closed, watermark.current_attempt) == (1, True, 1)
    assert len(seqs(platform, run_id)) == 2
