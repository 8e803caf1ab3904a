"""Settings name everything that is missing at once; page tokens are ours or refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail.metrics.v1 import metrics_pb2, metrics_service_pb2
from splitrail.trainer.v1 import run_service_pb2
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
    assert all(
        name in printed for name in ("SPLITRAIL_JWKS_FILE", "SPLITRAIL_S3_ENDPOINT", "SPLITRAIL_S3_WRITER_SECRET_KEY")
    )


LINES = metrics_service_pb2.ListLogLinesRequest
RUNS = run_service_pb2.ListRunsRequest


@given(st.text(), st.integers())
def test_page_tokens_round_trip(text, number):
    token = paging.page(LINES(run_id="r", page_size=5)).token([text, number])
    assert paging.page(LINES(run_id="r", page_size=7, page_token=token), str, int).after == (text, number)


@given(st.text(min_size=1))
def test_foreign_page_tokens_are_refused(token):
    with pytest.raises(PlatformError, match="page_token"):
        paging.page(LINES(page_token=token), str)


def test_a_page_token_with_half_of_a_surrogate_pair_is_refused():
    token = paging.page(LINES(run_id="r")).token(["\ud800"])
    with pytest.raises(PlatformError, match="page_token"):
        paging.page(LINES(run_id="r", page_token=token), str)


def test_a_page_token_that_nests_deeply_is_refused():
    with pytest.raises(PlatformError, match="page_token"):
        paging.page(LINES(page_token=base64.urlsafe_b64encode(b"[" * 100_000).decode()), str)


@pytest.mark.parametrize("other", [LINES(run_id="another"), LINES(run_id="r", after_seq=1), RUNS()])
def test_a_page_token_of_another_request_is_refused(other):
    other.page_token = paging.page(LINES(run_id="r")).token([1])
    with pytest.raises(PlatformError, match="another request"):
        paging.page(other, int)


def test_a_page_token_with_a_key_of_another_shape_is_refused():
    first = paging.page(LINES())
    for key in ([1], ["a", 1], [True]):
        with pytest.raises(PlatformError, match="page_token"):
            paging.page(LINES(page_token=first.token(key)), str)


def test_page_sizes_are_capped():
    assert [paging.page(LINES(page_size=asked)).size for asked in (0, 7, 1000, 1001, 2**31 - 1)] == [
        100,
        7,
        1000,
        1000,
        1000,
    ]


def test_a_page_is_cut_at_its_size_and_at_its_bytes():
    small, large = "x", "x" * (2 * 1024 * 1024)

    def cut(rows: list[str], limit: int) -> tuple[int, int | None]:
        """How many entries the response holds, and after which one the next page begins."""
        asked = LINES(page_size=limit)
        found = paging.Page.of(list(enumerate(rows, 1)), limit)
        messages, asked.page_token = paging.fit(
            paging.page(asked), found, lambda row: metrics_pb2.FeedEvent(run_id=row[1]), lambda row: [row[0]]
        )
        after = paging.page(asked, int).after
        return len(messages), after and after[0]

    assert cut([small] * 3, limit=3) == (3, None)
    assert cut([], limit=3) == (0, None)
    assert cut([small] * 4, limit=3) == (3, 3)
    assert cut([large, large], limit=3) == (1, 1)
