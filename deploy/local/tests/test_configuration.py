"""What the stack writes and chooses, without starting anything."""

import json
import shlex
import socket
import stat
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail_local import keys, ports, services
from splitrail_local.__main__ import main
from splitrail_local.errors import StackError
from splitrail_local.part import Part
from splitrail_local.s3_access_log import Records
from splitrail_local.state import PORT_NAMES, State
from splitrail_local.supervisor import MARK, write_configuration
from supervisor.options import ServerOptions


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "state")
    state.settle_ports({})
    state.ensure_sockets()
    return state


def test_secrets_are_made_once_and_are_private(state: State) -> None:
    again = State(state.root)
    assert again.record == state.record
    assert len(set(again.record.secrets.values())) == len(again.record.secrets)
    assert stat.S_IMODE((state.root / "stack.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.root.stat().st_mode) == 0o700


def test_a_damaged_record_is_named(state: State) -> None:
    (state.root / "stack.json").write_text("{")
    with pytest.raises(StackError, match="damaged"):
        State(state.root)


@pytest.mark.parametrize("name", ["with'quote", 'with"quote', "with;semicolon", "with\nnewline", "with%percent"])
def test_a_folder_that_supervisord_cannot_be_told_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StackError, match="SPLITRAIL_STATE"):
        State(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_only_a_taken_port_is_chosen_anew(state: State) -> None:
    before = dict(state.record.ports)
    assert set(before) == set(PORT_NAMES)
    assert len(set(before.values())) == len(before)
    with socket.create_server(("127.0.0.1", before["nats"])):
        state.settle_ports({})
    after = state.record.ports
    assert after["nats"] != before["nats"]
    assert {**after, "nats": 0} == {**before, "nats": 0}


def test_a_wanted_port_is_taken_and_remembered(state: State) -> None:
    nats = state.port("nats")
    free = ports.choose_free(exclude=state.record.ports.values())
    state.settle_ports({"s3": free, "postgres": nats})
    assert (state.port("s3"), state.port("postgres")) == (free, nats)
    assert state.port("nats") != nats, "what nobody asked for makes room"
    before = dict(state.record.ports)
    state.settle_ports({})
    assert state.record.ports == before


def test_a_wanted_port_that_is_in_use_is_refused_by_its_variable(state: State) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            StackError,
            match=rf"Port {port}, where weed_s3_grpc should listen, is in use: .*SPLITRAIL_WEED_S3_GRPC_PORT=<port>",
        ):
            state.settle_ports({"weed_s3_grpc": port})
    with pytest.raises(
        StackError, match=rf"Port {port}, where nats should listen, is that of s3: .*SPLITRAIL_NATS_PORT"
    ):
        state.settle_ports({"s3": port, "nats": port})
    state.settle_gateway_port(port)
    with pytest.raises(
        StackError, match=rf"Port {port}, where s3 should listen, is that of the gateway: .*SPLITRAIL_S3_PORT"
    ):
        state.settle_ports({"s3": port})


@pytest.mark.parametrize("text", ["http", "65536", "-1"])
def test_a_variable_that_is_no_port_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    monkeypatch.setenv("SPLITRAIL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("SPLITRAIL_POSTGRES_PORT", text)
    assert main(["up"]) == 1
    assert f"SPLITRAIL_POSTGRES_PORT={text} is not a port" in capsys.readouterr().err


def test_a_taken_gateway_port_is_refused_with_the_way_out(state: State) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StackError, match=rf"Port {port}, .* is in use: choose another with SPLITRAIL_PORT"):
            state.settle_gateway_port(port)
    state.settle_gateway_port(0)
    chosen = state.record.gateway_port
    state.settle_gateway_port(None)
    assert state.record.gateway_port == chosen
    assert state.gateway_url == f"http://127.0.0.1:{chosen}"


def test_sockets_move_to_a_short_folder_when_the_path_is_too_long(tmp_path: Path) -> None:
    state = State(tmp_path / ("deep" * 20))
    state.ensure_sockets()
    first = state.sockets
    assert len(str(state.control_socket)) < 92
    assert stat.S_IMODE(first.stat().st_mode) == 0o700
    state.ensure_sockets()
    assert State(state.root).sockets == first
    first.rmdir()  # as a reboot does
    state.ensure_sockets()
    assert state.sockets.is_dir()
    state.sockets.rmdir()


def test_tokens_verify_against_the_jwks_by_their_issuer(state: State) -> None:
    keys.ensure(state)
    jwks = {key["kid"]: key for key in json.loads(state.jwks_file.read_text())["keys"]}
    assert set(jwks) == {"splitrail", "splitrail-split", "splitrail-trainer", "splitrail-metrics"}
    assert not any("d" in key for key in jwks.values()), "a private key must not be published"
    for token, kind in ((state.admin_token_file.read_text(), "user"), (state.worker_token_file.read_text(), "worker")):
        key = jwt.PyJWK(jwks[jwt.get_unverified_header(token)["kid"]])
        claims = jwt.decode(token, key, audience="splitrail", issuer="splitrail")
        assert claims["kind"] == kind
    kept = state.admin_token_file.read_text()
    keys.ensure(state)
    assert state.admin_token_file.read_text() == kept


def test_the_pod_gets_neither_database_nor_s3_keys(state: State) -> None:
    pod = services.environment(state, "pod")
    assert not [name for name in pod if "DATABASE" in name or "S3" in name or "SIGNING" in name]
    assert state.secret("nats.pod") in pod["SPLITRAIL_NATS_URL"]
    assert "SPLITRAIL_NATS_URL" not in services.environment(state, "split")
    dsns = {
        services.environment(state, service)["SPLITRAIL_DATABASE_DSN"] for service in ("split", "trainer", "metrics")
    }
    assert len(dsns) == 3


def test_supervisord_reads_what_is_written(tmp_path: Path) -> None:
    state = State(tmp_path / "a state, with spaces")
    state.ensure_sockets()
    state.logs.mkdir()
    command = ("/bin/echo", "%m [%p]", "a b", "it's", "$HOME;x")
    part = Part(
        "echo", command, state.root, ready=lambda: None, environment={"URL": "nats://u:p%40@h:1", "LIST": "a,b=c; d"}
    )
    write_configuration(state, [part], root_user=False)
    assert stat.S_IMODE((state.root / "supervisord.conf").stat().st_mode) == 0o600
    options = ServerOptions()
    options.realize(["-c", str(state.root / "supervisord.conf")])
    (group,) = options.process_group_configs
    (process,) = group.process_configs
    assert process.directory == str(state.root)
    assert process.environment == {
        "URL": "nats://u:p%40@h:1",
        "LIST": "a,b=c; d",
        MARK: f"{state.record.stack_id}:echo",
    }
    assert tuple(shlex.split(process.command)) == command


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text() | st.integers(), max_size=3), max_size=5),
    st.lists(st.integers(min_value=1, max_value=40), min_size=1),
)
def test_access_records_survive_any_cut_of_the_stream(records: list[dict[str, str | int]], cuts: list[int]) -> None:
    stream = b"".join(json.dumps(["s3", 1, record, {}], ensure_ascii=False).encode() for record in records)
    reader = Records()
    found = []
    position = turn = 0
    while position < len(stream):
        size = cuts[turn % len(cuts)]
        found += reader.feed(stream[position : position + size])
        position, turn = position + size, turn + 1
    assert found == records


def test_what_is_no_access_record_is_refused() -> None:
    with pytest.raises(ValueError):
        Records().feed(b"GET / HTTP/1.1")
