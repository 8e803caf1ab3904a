"""Settings name everything that is missing at once; page tokens are ours or refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail_common import paging
from splitrail_common.errors import PlatformError
from splitrail_common.settings import ObjectStoreSettings, load


def test_everything_missing_is_named_at_once(monkeypatch, capsys):
    for name in ("SPLITRAIL_JWKS_FILE", "SPLITRAIL_S3_ENDPOINT", "SPLITRAIL_S3_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as caught:
        load(ObjectStoreSettings)
    printed = capsys.readouterr().err
    assert caught.value.code == 2
    assert all(name in printed for name in ("SPLITRAIL_JWKS_FILE", "SPLITRAIL_S3_ENDPOINT", "SPLITRAIL_S3_WRITER_SECRET_KEY"))


@given(st.text(), st.integers())
def test_page_tokens_round_trip(text, number):
    assert paging.decode(paging.encode([text, number]), (str, int)) == [text, number]


@given(st.text(min_size=1))
def test_foreign_page_tokens_are_refused(token):
    with pytest.raises(PlatformError):
        paging.decode(token, (str, int))


def test_a_page_token_that_nests_deeply_is_refused():
    with pytest.raises(PlatformError):
        paging.decode(base64.urlsafe_b64encode(b"[" * 100_000).decode(), (str,))


def test_page_sizes():
    assert (paging.page_size(0), paging.page_size(7)) == (100, 7)
    with pytest.raises(PlatformError, match="at most 1000"):
        paging.page_size(1001)
