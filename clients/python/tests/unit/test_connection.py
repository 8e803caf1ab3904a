"""Where the client looks for its gateway, and to whom it gives a token."""

import json

import pytest
from splitrail_client.connection import find_connection
from splitrail_client.errors import UsageError


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    monkeypatch.delenv("SPLITRAIL_URL", raising=False)
    monkeypatch.delenv("SPLITRAIL_TOKEN", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def write(folder, url, token, name=".splitrail"):
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "client.json").write_text(json.dumps({"url": url, "token": token}))


def test_arguments_win_over_the_environment_over_files(monkeypatch, tmp_path):
    write(tmp_path, "http://file:1", "file")
    assert (find_connection().url, find_connection().token) == ("http://file:1", "file")
    monkeypatch.setenv("SPLITRAIL_URL", "http://env:1")
    monkeypatch.setenv("SPLITRAIL_TOKEN", "env")
    assert (find_connection().url, find_connection().token) == ("http://env:1", "env")
    given = find_connection("http://arg:1/", "arg")
    assert (given.url, given.token, given.source) == ("http://arg:1", "arg", "arguments")


def test_a_parents_file_is_found_and_then_the_users(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write(tmp_path / "config", "http://user:1", "user", "splitrail")
    assert find_connection(folder=inner).url == "http://user:1"
    write(tmp_path, "http://parent:1", "parent")
    assert find_connection(folder=inner).url == "http://parent:1"


def test_a_files_token_goes_to_the_files_address_only(tmp_path):
    write(tmp_path, "http://one:1", "one")
    assert find_connection("http://one:1").token == "one"
    with pytest.raises(UsageError, match="no token for http://two:1"):
        find_connection("http://two:1")
    assert find_connection(token="mine").url == "http://one:1"


def test_nothing_found_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="make up"):
        find_connection()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"url": 1, "token": "x"}', '{"url": "http://a:1"}', '{"url": "ftp://a", "token": "x"}']
)
def test_a_damaged_file_is_named(tmp_path, content):
    write(tmp_path, "http://a:1", "x")
    (tmp_path / ".splitrail" / "client.json").write_text(content)
    with pytest.raises(UsageError):
        find_connection()


@pytest.mark.parametrize(
    "url", ["localhost:8080", "http://", "http://a:x", "http://a:99999", "http://a/path", "ftp://a", "http://[::1"]
)
def test_addresses_that_are_none(url):
    with pytest.raises(UsageError, match="is not an address"):
        find_connection(url, "t")


@pytest.mark.parametrize(
    ("url", "target", "tls", "loopback"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", False, True),
        ("https://splitrail.example.org", "splitrail.example.org:443", True, False),
        ("http://[::1]:80", "[::1]:80", False, True),
        ("http://localhost", "localhost:80", False, True),
    ],
)
def test_targets(url, target, tls, loopback):
    connection = find_connection(url, "sesame")
    assert (connection.target, connection.is_tls, connection.is_loopback) == (target, tls, loopback)
    assert "sesame" not in repr(connection)
