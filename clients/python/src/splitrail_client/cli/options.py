"""What every command shares: its connection, `-o json`, and how errors become sentences and exit codes."""

import asyncio
import functools
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from ..client import AsyncClient
from ..connection import DEFAULT_PROJECT, find_connection
from ..errors import SplitrailError, UnreachableError
from ..text import plain

T = TypeVar("T")
_PIPE_WIDTH = 160  # columns of a table that no terminal limits
_SHOWN = 20  # lines of a list that may be very long
_SHARED_FLAGS = {"project_id": "--project"}


class CommandError(click.ClickException):
    """A SplitrailError on its way out of the command. `flags`: field of the request -> the option that gives it."""

    def __init__(self, error: SplitrailError, flags: Mapping[str, str]) -> None:
        super().__init__(error.message)
        self._error = error
        self._flags = flags

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click reads it from the instance, and declares it on the class
        return self._error.exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """One line for each sentence, on stderr."""
        for sentence in self._error.sentences(self._called):
            click.echo(f"splitrail: {plain(sentence)}", file=file or sys.stderr)
        if self._error.hint:
            click.echo(self._error.hint, file=file or sys.stderr)

    def _called(self, field: str) -> str:
        """The option that gives a field of the request, or what the field is a part of; a field without one as it is."""
        return next((flag for name, flag in self._flags.items() if field == name or field.startswith((f"{name}.", f"{name}["))), field)


@dataclass(frozen=True)
class Session:
    """One invocation: whom to talk to, and how to answer."""

    url: str | None
    token_file: Path | None
    project: str
    json: bool

    def run(self, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """Runs `work` with an open client. SplitrailError and KeyboardInterrupt pass through once the client is closed."""
        try:
            token = self.token_file.read_text().strip() if self.token_file else None
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{self.token_file} cannot be read: {error}") from error
        client = AsyncClient(find_connection(self.url, token), self.project)

        async def within() -> T:
            async with client:
                return await work(client)

        return asyncio.run(within())

    def run_resumable(self, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """`run` for what goes on where it stopped when the same command is given again. Ctrl-C ends the command."""
        again = "run the same command again to go on where it stopped"
        try:
            return self.run(work)
        except UnreachableError as error:
            error.hint = again
            raise
        except KeyboardInterrupt:
            self.say(f"interrupted: what the service has begun goes on; {again}")
            raise click.exceptions.Exit(130) from None

    @functools.cached_property
    def out(self) -> Console:
        """Data for people: stdout."""
        console = _console(stderr=False)
        return console if console.is_terminal else _console(stderr=False, width=_PIPE_WIDTH)

    @functools.cached_property
    def err(self) -> Console:
        """Progress and remarks: stderr."""
        return _console(stderr=True)

    def say(self, text: str, style: str | None = None) -> None:
        """One line on stderr, as text whatever it holds."""
        self.err.print(plain(text), style=style, soft_wrap=True)

    def answer(self, text: str) -> None:
        """One line on stdout."""
        self.out.print(plain(text), soft_wrap=True)

    def document(self, value: Any) -> None:
        """The answer as one JSON document on stdout."""
        click.echo(json.dumps(value, indent=2, allow_nan=False))

    def answer_list(self, items: Sequence[T], document: Callable[[T], Any], table: Callable[[Sequence[T]], Table], none: str) -> None:
        """A list as documents or as a table; `none` is said to people when it is empty."""
        if self.json:
            self.document([document(item) for item in items])
        elif items:
            self.out.print(table(items))
        else:
            self.say(none)

    def answer_first(self, items: Sequence[T], line: Callable[[T], str]) -> None:
        """A line each of a list for people that may be very long: of the first ones."""
        for item in items[:_SHOWN]:
            self.answer(line(item))
        if (more := len(items) - _SHOWN) > 0:
            self.say(f"... and {more} more: all of them with -o json")

    def delete(self, name: str, what: str, work: Callable[[AsyncClient], Awaitable[None]], *, yes: bool) -> None:
        """Deletes by `work`, after asking for confirmation of `what` unless `yes`; the answer says `name`."""
        if not yes:
            _confirm(what)
        self.run(work)
        if self.json:
            self.document({"deleted": name})
        else:
            self.answer(f"{name} deleted")


def _console(*, stderr: bool, width: int | None = None) -> Console:
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def _confirm(what: str) -> None:
    """Asks on stderr; ends the command when the answer is no. Raises click.UsageError when nobody is there to answer."""
    try:
        agreed = click.confirm(f"Delete {plain(what)} for good?", err=True)
    except click.Abort:  # Ctrl-C, or the end of the input
        click.echo(err=True)
        if sys.stdin.isatty():
            raise
        raise click.UsageError("deleting asks for confirmation, and there is no terminal to answer on: --yes answers it") from None
    if not agreed:
        raise click.Abort


def with_session(function: Callable[..., None], flags: Mapping[str, str] | None = None) -> Callable[..., None]:
    """Gives a command the shared options, and its function the Session made of them. `flags`: see `with_flags`."""
    known = {**_SHARED_FLAGS, **(flags or {})}

    @click.option("--url", metavar="URL", help="The gateway's address. Default: SPLITRAIL_URL, or .splitrail/client.json here or in a parent folder.")
    @click.option(
        "--token-file",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File with the token. Default: SPLITRAIL_TOKEN, or client.json.",
    )
    @click.option("--project", envvar="SPLITRAIL_PROJECT", default=DEFAULT_PROJECT, show_default=True, help="The project.")
    @click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How stdout answers.")
    @functools.wraps(function)
    def command(url: str | None, token_file: Path | None, project: str, output: str, **parameters: Any) -> None:
        try:
            function(Session(url, token_file, project, output == "json"), **parameters)
        except SplitrailError as error:
            raise CommandError(error, known) from error

    return command


def with_flags(flags: Mapping[str, str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`with_session` for a command whose refusals say its options: field of the request -> the option that gives it."""
    return functools.partial(with_session, flags=flags)
