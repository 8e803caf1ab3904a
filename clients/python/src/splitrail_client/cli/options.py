"""What every command shares: its connection, `-o json`, and how errors become sentences and exit codes."""

import asyncio
import functools
import json
import math
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import click
from rich.console import Console

from ..client import AsyncClient
from ..connection import DEFAULT_PROJECT, find_connection
from ..errors import SplitrailError
from ..text import plain

T = TypeVar("T")
_PIPE_WIDTH = 160  # columns of a table that no terminal limits


class CommandError(click.ClickException):
    """A SplitrailError on its way out of the command."""

    def __init__(self, error: SplitrailError) -> None:
        super().__init__(error.message)
        self._error = error

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click reads it from the instance, and declares it on the class
        return self._error.exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """One line for each sentence, on stderr."""
        for sentence in self._error.sentences():
            click.echo(f"splitrail: {plain(sentence)}", file=file or sys.stderr)


@dataclass(frozen=True)
class Session:
    """One invocation: whom to talk to, and how to answer."""

    url: str | None
    token_file: Path | None
    project: str
    json: bool

    def run(self, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """Runs `work` with an open client. KeyboardInterrupt passes through once the client is closed."""
        try:
            token = self.token_file.read_text().strip() if self.token_file else None
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{self.token_file} cannot be read: {error}") from error
        try:
            client = AsyncClient(find_connection(self.url, token), self.project)

            async def within() -> T:
                async with client:
                    return await work(client)

            return asyncio.run(within())
        except SplitrailError as error:
            raise CommandError(error) from error

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
        click.echo(json.dumps(_finite(value), indent=2, allow_nan=False))


def _console(*, stderr: bool, width: int | None = None) -> Console:
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def _finite(value: Any) -> Any:
    """NaN and infinities as the words that ProtoJSON uses: JSON has no numbers for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def confirm_deletion(what: str, *, yes: bool) -> None:
    """Asks, on stderr, unless `yes`; ends the command when the answer is no, or when nobody can answer."""
    if not yes:
        click.confirm(f"Delete {plain(what)} for good?", abort=True, err=True)


def with_session(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the shared options, and its function the Session made of them."""

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
        function(Session(url, token_file, project, output == "json"), **parameters)

    return command
