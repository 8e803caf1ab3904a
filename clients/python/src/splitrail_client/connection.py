"""The address of the gateway and the token: from arguments, the environment, or a `client.json`."""

import ipaddress
import json
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from .errors import UsageError

URL_VARIABLE = "SPLITRAIL_URL"
TOKEN_VARIABLE = "SPLITRAIL_TOKEN"  # noqa: S105 - the name of a variable
DEFAULT_PROJECT = "default"


@dataclass(frozen=True)
class Connection:
    """The gateway's address and the caller's token."""

    url: str
    token: str
    source: str
    """Where they were found, for error messages."""

    def __repr__(self) -> str:
        return f"Connection(url={self.url!r}, source={self.source!r})"  # the token is a secret

    @property
    def is_tls(self) -> bool:
        """True for https."""
        return urlsplit(self.url).scheme == "https"

    @property
    def target(self) -> str:
        """host:port."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        return f"{f'[{host}]' if ':' in host else host}:{parts.port or (443 if self.is_tls else 80)}"

    @property
    def is_loopback(self) -> bool:
        """True when the gateway is on this machine, so that no proxy is used."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


def find_connection(url: str | None = None, token: str | None = None, *, folder: Path | None = None) -> Connection:
    """The first of: the arguments; SPLITRAIL_URL and SPLITRAIL_TOKEN; `.splitrail/client.json` in `folder` (default:
    the current one) or a parent; `splitrail/client.json` in the user's configuration folder. What arguments and
    environment do not give is taken from the next place, but a token from a file is only ever sent to the address in
    the same file.

    Raises UsageError with what to do when no address or no token is found.
    """
    given = url or os.environ.get(URL_VARIABLE), token or os.environ.get(TOKEN_VARIABLE)
    if given[0] and given[1]:
        return Connection(_checked(given[0]), given[1].strip(), "arguments" if url or token else "environment")
    for path in _candidates(folder or Path.cwd()):
        if not path.is_file():
            continue
        stored_url, stored_token = _read(path)
        if given[0] and _checked(given[0]) != stored_url:
            continue
        return Connection(stored_url, given[1].strip() if given[1] else stored_token, str(path))
    if given[0]:
        raise UsageError(f"no token for {given[0]}: name a file with --token-file, or set {TOKEN_VARIABLE}")
    raise UsageError(
        f"no Splitrail gateway found: start one with `make up` (it writes .splitrail/client.json), or give --url and --token-file, "
        f"or set {URL_VARIABLE} and {TOKEN_VARIABLE}"
    )


def _candidates(folder: Path) -> list[Path]:
    here = folder.absolute()
    return [
        *(place / ".splitrail" / "client.json" for place in (here, *here.parents)),
        platformdirs.user_config_path("splitrail") / "client.json",
    ]


def _read(path: Path) -> tuple[str, str]:
    try:
        content = json.loads(path.read_text())
        url, token = content["url"], content["token"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be read as an object with `url` and `token`: {error}") from error
    if not isinstance(url, str) or not isinstance(token, str):
        raise UsageError(f"{path}: `url` and `token` must be strings")
    return _checked(url), token.strip()


def _checked(url: str) -> str:
    """`url` without a trailing slash. Raises UsageError unless it is http(s)://host[:port]."""
    try:
        parts = urlsplit(url)
        sound = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/") and parts.port != 0
        )
    except ValueError:  # a port that is not a number, a malformed IPv6 address
        sound = False
    if not sound:
        raise UsageError(f"{url!r} is not an address like http://127.0.0.1:8080 or https://splitrail.example.org")
    return url.rstrip("/")
