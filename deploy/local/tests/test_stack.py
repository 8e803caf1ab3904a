"""The real servers under the real supervisord: who may do what, and what survives which kill."""

import asyncio
import io
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import nats
import nats.errors
import nats.js.errors
import psutil
import psycopg
import pytest
from splitrail_local import leftovers, ports, s3
from splitrail_local.__main__ import main
from splitrail_local.errors import StackError
from splitrail_local.stack import SERVERS, Stack
from splitrail_local.supervisor import MARK
from splitrail_local.testing import RunningStack, running_stack, until

pytestmark = pytest.mark.integration

KEY = "projects/p/assets/probe"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory) as running:
        s3.client(running.state).put_object(s3.BUCKET, KEY, io.BytesIO(b"bytes"), 5)
        yield running


def processes_of(stack_id: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(stack_id) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_service_reaches_its_own_database_and_no_other(stack: RunningStack) -> None:
    with psycopg.connect(stack.dsn("split")) as connection:
        connection.execute("CREATE TABLE probe (id int)")
        connection.rollback()
    for other in ("splitrail_trainer", "splitrail_metrics", "postgres"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(stack.dsn("split"), dbname=other)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(stack.dsn("split"), password="wrong")


def test_a_start_that_was_killed_is_completed_by_the_next(stack: RunningStack) -> None:
    """Killed between the start of Postgres and the making of its databases, it leaves a server without them."""
    with psycopg.connect(stack.admin_dsn, autocommit=True) as connection:
        connection.execute("DROP DATABASE splitrail_metrics")
    assert not stack.stack.up(only=["postgres"]), "it ran already"
    with psycopg.connect(stack.dsn("metrics")) as connection:
        connection.execute("SELECT 1")


async def test_a_pod_reports_and_does_nothing_else(stack: RunningStack) -> None:
    services = await nats.connect(stack.nats_url)
    refused: asyncio.Queue[Exception] = asyncio.Queue()
    pod = await nats.connect(stack.pod_nats_url, inbox_prefix=b"_INBOX_pod", error_cb=refused.put)
    try:
        await services.jetstream().add_stream(name="runs", subjects=["splitrail.runs.>"])
        assert (await pod.jetstream().publish("splitrail.runs.r1.epoch", b"1")).seq == 1
        await pod.publish("splitrail.progress.r1", b"1")
        await pod.flush()
        assert refused.empty()
        for subject in ("$JS.API.STREAM.DELETE.runs", "splitrail.other"):
            await pod.publish(subject, b"")
            assert "permissions violation for publish" in str(await asyncio.wait_for(refused.get(), 5)).lower()
        await pod.subscribe("splitrail.runs.>")
        assert "permissions violation for subscription" in str(await asyncio.wait_for(refused.get(), 5)).lower()
        assert (await services.jetstream().stream_info("runs")).state.messages == 1
    finally:
        await pod.close()
        await services.close()
    with pytest.raises(nats.errors.Error):
        await nats.connect(f"nats://127.0.0.1:{stack.state.port('nats')}", allow_reconnect=False, error_cb=refused.put)


@pytest.mark.parametrize(
    ("identity", "method", "key", "status"),
    [
        ("reader", "GET", KEY, 200),
        ("reader", "PUT", "staging/p/x", 403),
        ("reader", "PUT", KEY, 403),
        ("reader", "DELETE", KEY, 403),
        ("writer", "PUT", "staging/p/x", 200),
        ("writer", "PUT", "attempts/p/job/1/best.pt", 200),
        ("writer", "PUT", KEY, 403),
        ("writer", "PUT", "stagingly/x", 403),
        ("writer", "PUT", "x", 403),
        ("writer", "GET", KEY, 403),
        ("writer", "GET", "staging/p/x", 403),
        ("writer", "DELETE", KEY, 403),
    ],
)
def test_a_presigned_url_can_do_no_more_than_its_identity(
    stack: RunningStack, identity: str, method: str, key: str, status: int
) -> None:
    url = s3.client(stack.state, identity).get_presigned_url(method, s3.BUCKET, key, timedelta(minutes=1))
    request = urllib.request.Request(url, method=method, data=b"bytes" if method == "PUT" else None)
    try:
        answer = urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as error:
        answer = error.code
    assert answer == status


def test_the_access_log_tells_who_read_which_key(stack: RunningStack) -> None:
    url = s3.client(stack.state, "reader").presigned_get_object(s3.BUCKET, KEY, timedelta(minutes=1))
    urllib.request.urlopen(urllib.request.Request(url, headers={"user-agent": "probe/1"}), timeout=10).read()

    def logged() -> list[dict[str, object]]:
        whole_lines = stack.log("s3log").rpartition("\n")[0].splitlines()  # the last one may be half written
        records = [json.loads(line) for line in whole_lines]
        return [record for record in records if record["user_agent"] == "probe/1"]

    (record,) = until(logged, "the access log")
    assert (record["operation"], record["key"], record["requester"], record["status"]) == (
        "REST.GET.OBJECT",
        KEY,
        "reader",
        200,
    )


def test_a_second_start_says_that_all_runs(stack: RunningStack) -> None:
    before = {name: process.pid for name, process in stack.stack.status().items()}
    assert Stack(stack.state.root).up(only=SERVERS) is False
    assert {name: process.pid for name, process in stack.stack.status().items()} == before


@pytest.mark.parametrize("part", SERVERS)
def test_a_killed_server_is_started_again(stack: RunningStack, part: str) -> None:
    stack.restored(part, stack.kill(part))
    with psycopg.connect(stack.admin_dsn) as connection:
        connection.execute("SELECT 1")
    assert s3.client(stack.state).stat_object(s3.BUCKET, KEY).size == 5


def test_a_start_after_supervisord_was_killed(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "state")
    lines: list[str] = []
    try:
        stack.up(only=SERVERS)
        with psycopg.connect(RunningStack(stack).dsn("split")) as connection:
            connection.execute("CREATE TABLE kept (id int)")
        (supervisord,) = [
            process
            for process in processes_of(stack.state.record.stack_id)
            if process.environ()[MARK].endswith(leftovers.SUPERVISORD)
        ]
        orphans = supervisord.children()
        assert len(orphans) == len(SERVERS)
        supervisord.kill()
        supervisord.wait(10)
        assert stack.status() == {}
        again = Stack(tmp_path / "state")
        assert again.up(only=SERVERS, say=lines.append) is True
        assert "left behind: " in lines[0]  # not always all four: one that logs meanwhile ends by its broken pipe
        assert not [process for process in orphans if process.is_running()]
        with psycopg.connect(RunningStack(again).dsn("split")) as connection:
            connection.execute("SELECT * FROM kept")
        assert again.down() is True
        assert all(json.loads(line)["operation"] for line in RunningStack(again).log("s3log").splitlines())
        assert processes_of(again.state.record.stack_id) == []
        assert again.down() is False
    finally:
        stack.clean()
    assert not (tmp_path / "state").exists()


def test_a_failed_start_shows_the_log_and_leaves_nothing_running(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "state")
    try:
        (stack.state.root / "nats").mkdir()
        (stack.state.root / "nats" / "jetstream").write_text("a file where the server wants a folder")
        with pytest.raises(
            StackError, match=r"nats does not start[\s\S]*nats\.log[\s\S]*storage directory is not a directory"
        ):
            stack.up(only=["nats"])
        assert processes_of(stack.state.record.stack_id) == []
    finally:
        stack.clean()


def test_a_cluster_of_another_major_version_is_refused(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "state")
    try:
        stack.up(only=["postgres"])
        stack.down()
        data = Path(stack.state.record.postgres_folder or stack.state.root / "postgres") / "data"
        (data / "PG_VERSION").write_text("17\n")
        with pytest.raises(StackError, match="made by Postgres 17, the installed one is 18"):
            stack.up(only=["postgres"])
    finally:
        stack.clean()


def test_a_damaged_state_is_stopped_and_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(tmp_path / "state")
    monkeypatch.setenv("SPLITRAIL_STATE", str(stack.state.root))
    try:
        stack.up(only=["postgres", "nats"])
        record = stack.state.root / "stack.json"
        whole = record.read_text()
        record.write_text(whole[:100])
        assert main(["down"]) == 1, "only clean may do without the record"
        assert main(["clean"]) == 0
        assert processes_of(stack.state.record.stack_id) == []
        assert not stack.state.root.exists()
        assert stack.state.record.postgres_folder is None or not Path(stack.state.record.postgres_folder).exists()
    finally:
        if stack.state.root.exists():
            record.write_text(whole)
            stack.clean()


def test_a_state_damaged_before_anything_ran_is_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITRAIL_STATE", str(tmp_path / "state"))
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "stack.json").write_text("")
    assert main(["clean"]) == 0
    assert not (tmp_path / "state").exists()


def test_postgres_starts_under_the_strictest_umask(tmp_path: Path) -> None:
    """As root, it runs as `nobody`, who must be able to read what we copy for it."""
    before = os.umask(0o077)
    stack = Stack(tmp_path / "state")
    try:
        assert stack.up(only=["postgres"])
    finally:
        os.umask(before)
        stack.clean()


def test_ports_are_those_that_variables_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    monkeypatch.setenv("SPLITRAIL_STATE", str(state))
    port = ports.choose_free(exclude=())
    monkeypatch.setenv("SPLITRAIL_NATS_PORT", str(port))
    try:
        assert main(["up", "--only", "nats"]) == 0
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            assert connection.recv(4) == b"INFO"
        monkeypatch.setenv("SPLITRAIL_NATS_PORT", str(port + 1))
        assert main(["up", "--only", "nats"]) == 0
        assert f"nats keeps its port {port} until the stack is stopped" in capsys.readouterr().err
    finally:
        assert main(["clean"]) == 0


def test_an_unknown_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no part named postgress; the parts are postgres, nats"):
        Stack(tmp_path / "state").up(only=["postgress"])
