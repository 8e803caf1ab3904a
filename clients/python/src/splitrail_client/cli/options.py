"""What all commands share: the connection, `-o json`, and how errors become messages and exit codes."""

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
_PIPE_WIDTH = 160  # columns of a table when stdout is not a terminal
_SHOWN = 20  # lines shown of a list that may be very long
_SHARED_FLAGS = {"project_id": "--project"}


class CommandError(click.ClickException):
    """A SplitrailError as click reports it. `flags`: field of the request -> the option that sets it."""

    def __init__(self, error: SplitrailError, flags: Mapping[str, str]) -> None:
        super().__init__(error.message)
        self._error = error
        self._flags = flags

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click declares it on the class but reads it from the instance
        return self._error.exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """One line for each sentence, on stderr."""
        for sentence in self._error.sentences(self._called):
            click.echo(f"splitrail: {plain(sentence)}", file=file or sys.stderr)
        if self._error.hint:
            click.echo(self._error.hint, file=file or sys.stderr)

    def _called(self, field: str) -> str:
        """The option that sets a field of the request or one of its parents; without one, the field itself."""
        return next(
            (flag for name, flag in self._flags.items() if field == name or field.startswith((f"{name}.", f"{name}["))),
            field,
        )


@dataclass(frozen=True)
class Session:
    """One invocation of the command: the connection and the output format."""

    url: str | None
    token_file: Path | None
    project: str
    json: bool

    def run(self, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """Runs `work` with an open client. SplitrailError and KeyboardInterrupt propagate after the client is closed."""
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
        """`run` for commands that resume when they are run again. Ctrl-C ends the command."""
        again = "run the same command again to resume"
        try:
            return self.run(work)
        except UnreachableError as error:
            error.hint = again
            raise
        except KeyboardInterrupt:
            self.say(f"interrupted: work that the service has started continues; {again}")
            raise click.exceptions.Exit(130) from None

    @functools.cached_property
    def out(self) -> Console:
        """Results for people: stdout."""
        console = _console(stderr=False)
        return console if console.is_terminal else _console(stderr=False, width=_PIPE_WIDTH)

    @functools.cached_property
    def err(self) -> Console:
        """Progress and notes: stderr."""
        return _console(stderr=True)

    def say(self, text: str, style: str | None = None) -> None:
        """One line on stderr, without control characters."""
        self.err.print(plain(text), style=style, soft_wrap=True)

    def answer(self, text: str) -> None:
        """One line on stdout, without control characters."""
        self.out.print(plain(text), soft_wrap=True)

    def document(self, value: Any) -> None:
        """One JSON document on stdout."""
        click.echo(json.dumps(value, indent=2, allow_nan=False))

    def answer_list(
        self, items: Sequence[T], document: Callable[[T], Any], table: Callable[[Sequence[T]], Table], none: str
    ) -> None:
        """A list as JSON or as a table; `none` is printed on stderr instead of an empty table."""
        if self.json:
            self.document([document(item) for item in items])
        elif items:
            self.out.print(table(items))
        else:
            self.say(none)

    def answer_first(self, items: Sequence[T], line: Callable[[T], str]) -> None:
        """One line for each of the first items of a list that may be very long."""
        for item in items[:_SHOWN]:
            self.answer(line(item))
        if (more := len(items) - _SHOWN) > 0:
            self.say(f"... and {more} more: all of them with -o json")

    def delete(self, name: str, what: str, work: Callable[[AsyncClient], Awaitable[None]], *, yes: bool) -> None:
        """Runs `work`, which deletes `what`, after asking for confirmation unless `yes`, and prints that `name` was
        deleted.
        """
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
    """Asks on stderr and ends the command when the answer is no. Raises click.UsageError when stdin is not a terminal."""
    try:
        agreed = click.confirm(f"Delete {plain(what)} for good?", err=True)
    except click.Abort:  # Ctrl-C, or the end of the input
        click.echo(err=True)
        if sys.stdin.isatty():
            raise
        raise click.UsageError(
            "deleting asks for confirmation, and there is no terminal to answer on: give --yes"
        ) from None
    if not agreed:
        raise click.Abort


def with_session(function: Callable[..., None], flags: Mapping[str, str] | None = None) -> Callable[..., None]:
    """Adds the shared options to a command and passes them to its function as a Session. `flags`: see `with_flags`."""
    known = {**_SHARED_FLAGS, **(flags or {})}

    @click.option(
        "--url",
        metavar="URL",
        help="The gateway's address. Default: SPLITRAIL_URL, or .splitrail/client.json here or in a parent folder.",
    )
    @click.option(
        "--token-file",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File that has the token. Default: SPLITRAIL_TOKEN, or client.json.",
    )
    @click.option(
        "--project", envvar="SPLITRAIL_PROJECT", default=DEFAULT_PROJECT, show_default=True, help="The project."
    )
    @click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="json: as the gateway has it.",
    )
    @functools.wraps(function)
    def command(url: str | None, token_file: Path | None, project: str, output: str, **parameters: Any) -> None:
        try:
            function(Session(url, token_file, project, output == "json"), **parameters)
        except SplitrailError as error:
            raise CommandError(error, known) from error

    return command


def with_flags(flags: Mapping[str, str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`with_session` for a command whose error messages name its options. `flags`: field of the request -> the option
    that sets it.
    """
    return functools.partial(with_session, flags=flags)
