"""What tests are built on: a stack of their own for a session, a database of its own for each test, and waiting with a
deadline.

`with running_stack(tmp_path_factory) as stack: ...` in a session-scoped fixture; so is `TemplateDatabase(stack,
"metrics")`, whose clones are for one test each.
"""

import asyncio
import inspect
import os
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from splitrail_common.database import open_pool

from splitrail_local import envoy, keys, nats, postgres, s3, services
from splitrail_local.part import NotReadyError
from splitrail_local.s3 import Credentials
from splitrail_local.stack import SERVERS, Stack
from splitrail_local.state import State

T = TypeVar("T")


def until(condition: Callable[[], T | None], what: str, seconds: float = 30) -> T:
    """The first true result of `condition`, asked again and again; TimeoutError with `what` after the deadline."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)
    return value


async def eventually(condition: Callable[[], Awaitable[T | None] | T | None], what: str, seconds: float = 30) -> T:
    """`until` within an event loop; the condition may be awaited. One that blocks: `eventually(lambda:
    asyncio.to_thread(condition), ...)`.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.02)


class FolderFactory(Protocol):
    """What is used of pytest's `tmp_path_factory`."""

    def mktemp(self, basename: str, numbered: bool = True) -> Path: ...


@dataclass(frozen=True, slots=True)
class RunningStack:
    """The addresses and keys of a running stack."""

    stack: Stack

    @property
    def state(self) -> State:
        return self.stack.state

    @property
    def admin_dsn(self) -> str:
        """Postgres' superuser, database `postgres`."""
        return postgres.admin_dsn(self.state)

    def dsn(self, service: str) -> str:
        """The DSN of a service's own role and database."""
        return postgres.service_dsn(self.state, service)

    @property
    def nats_url(self) -> str:
        return nats.url(self.state, "services")

    @property
    def pod_nats_url(self) -> str:
        """May publish splitrail.runs.> and splitrail.progress.>; needs the inbox prefix `_INBOX_pod`."""
        return nats.url(self.state, "pod")

    @property
    def s3_endpoint(self) -> str:
        """http://host:port"""
        return s3.endpoint(self.state)

    @property
    def s3_bucket(self) -> str:
        return s3.BUCKET

    def s3_credentials(self, identity: str = "internal") -> Credentials:
        """The keys of internal (everything), reader (GET) or writer (PUT below staging/ and attempts/)."""
        return s3.credentials(self.state, identity)

    @property
    def jwks_file(self) -> Path:
        return self.state.jwks_file

    def signing_key_file(self, issuer: str) -> Path:
        """PEM of `splitrail`, `splitrail-split`, `splitrail-trainer` or `splitrail-metrics`."""
        return self.state.signing_key(issuer)

    def user_token(self, roles: Mapping[str, str], subject: str = "tester", lifetime: int = 3600) -> str:
        """A user's token; `roles` as {"<project or *>": "viewer|editor|admin"}, `lifetime` in seconds (negative:
        expired).
        """
        return keys.sign_user(self.state, subject, roles, lifetime)

    @property
    def admin_token(self) -> str:
        return self.state.admin_token_file.read_text()

    @property
    def worker_token(self) -> str:
        return self.state.worker_token_file.read_text()

    @property
    def gateway_url(self) -> str:
        return self.state.gateway_url

    def environment(self, name: str) -> dict[str, str]:
        """What `python -m splitrail_<name>` (split, trainer, metrics, pod) reads from its environment in this stack."""
        return services.environment(self.state, name)

    def pid(self, part: str) -> int:
        """The process of a part (to kill it); 0 when it does not run."""
        return self.stack.status()[part].pid

    def kill(self, part: str) -> int:
        """End a part's process by SIGKILL, and return its id; supervisord starts another one, for which `restored`
        waits.
        """
        pid = self.pid(part)
        os.kill(pid, signal.SIGKILL)
        return pid

    def restored(self, part: str, killed: int) -> None:
        """Wait until a part runs again in place of the process `killed` and, where there is a gateway, all of its
        services are reached.
        """
        until(lambda: self.pid(part) not in (0, killed) and self.stack.is_ready(part), f"{part} is started again")
        if self.pid("envoy"):
            until(self._is_serving, "the gateway reaches every service")

    def _is_serving(self) -> bool:
        try:
            envoy.serving(self.state)
        except NotReadyError:
            return False
        return True

    def log(self, part: str) -> str:
        return (self.state.logs / f"{part}.log").read_text(errors="replace")


@contextmanager
def running_stack(
    tmp_path_factory: FolderFactory,
    only: Collection[str] | None = SERVERS,
    environment: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[RunningStack]:
    """Start a stack (`only` these parts; None: all) in a temporary folder, and stop and remove it at the end.

    It also stops when the test process is killed. `environment`: part -> variables it gets besides the usual ones.
    """
    stack = Stack(tmp_path_factory.mktemp("stack"), environment)
    try:
        stack.up(only=only, gateway_port=0, die_with_caller=True)
        yield RunningStack(stack)
    finally:
        stack.clean()


class TemplateDatabase:
    """A service's database, migrated once; its clones are made by copying files."""

    def __init__(self, stack: RunningStack, service: str) -> None:
        """`service`: split, trainer or metrics. Not to be made within a running event loop: it runs one for the
        migrations.
        """
        self._admin_dsn = stack.admin_dsn
        self._dsn = stack.dsn(service)
        self._owner = sql.Identifier(postgres.database(service))
        self._name = f"template_{service}_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(self._admin_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(self._name), self._owner))

        async def migrate() -> None:
            async with open_pool(
                make_conninfo(self._dsn, dbname=self._name), size=1, deadline_seconds=20, package=f"splitrail_{service}"
            ):
                pass

        asyncio.run(migrate())

    @contextmanager
    def clone(self) -> Iterator["ClonedDatabase"]:
        """A fresh database of the service's role, removed at the end whoever is still connected."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self._admin_dsn, autocommit=True) as connection:
            statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
            connection.execute(statement.format(sql.Identifier(name), self._owner, sql.Identifier(self._name)))
            try:
                yield ClonedDatabase(self._admin_dsn, make_conninfo(self._dsn, dbname=name), name)
            finally:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass(frozen=True)
class ClonedDatabase:
    """A database of one test; can be made to vanish for a while."""

    admin_dsn: str
    dsn: str
    """As the service's own role."""
    name: str

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Runs a statement and commits it; its rows, if it gives any."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def away(self) -> None:
        """Ends all connections and refuses new ones."""
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(self.name)))
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self.name,)
            )

    def back(self) -> None:
        """Lets connections in again."""
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(self.name)))
