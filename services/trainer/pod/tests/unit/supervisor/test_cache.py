"""The cache against a model of it, and against what can happen to its files."""

import asyncio
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from splitrail_pod.supervisor.staging.cache import ContentCache

LIMIT = 1000


def put(cache: ContentCache, data: bytes, target: Path) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    partial = cache.partial()
    partial.write_bytes(data)
    cache.insert(partial, sha256, target)
    return sha256


class CacheMachine(RuleBasedStateMachine):
    """Inserts, uses and reopenings, with the least recently used gone first."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.cache = ContentCache(self.root / "cache", LIMIT)
        self.model: dict[str, bytes] = {}
        self.count = 0

    def target(self) -> Path:
        self.count += 1
        return self.root / f"staged-{self.count}"

    @rule(data=st.binary(min_size=1, max_size=6).map(lambda seed: seed * 60))
    def insert(self, data: bytes) -> None:
        target = self.target()
        sha256 = put(self.cache, data, target)
        assert target.read_bytes() == data
        assert stat.S_IMODE(target.stat().st_mode) == 0o444
        self.model.pop(sha256, None)
        self.model[sha256] = data
        while sum(map(len, self.model.values())) > LIMIT:
            self.model.pop(next(iter(self.model)))

    @rule(choice=st.randoms(use_true_random=False))
    def use(self, choice: object) -> None:
        if self.model:
            sha256 = choice.choice(sorted(self.model))  # type: ignore[attr-defined]
            target = self.target()
            assert asyncio.run(self.cache.place(sha256, target))
            assert target.read_bytes() == self.model[sha256]
            self.model[sha256] = self.model.pop(sha256)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert {name for name in os.listdir(self.root / "cache")} == set(self.model)
        assert self.cache.total_bytes == sum(map(len, self.model.values())) <= LIMIT

    def teardown(self) -> None:
        self.folder.cleanup()


TestCache = CacheMachine.TestCase
TestCache.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


async def test_a_file_that_was_changed_is_fetched_again(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache", LIMIT)
    sha256 = put(cache, b"a jpeg", tmp_path / "one")
    (tmp_path / "one").chmod(0o644)
    (tmp_path / "one").write_bytes(b"a jpeg, repaired in place through the hard link")
    assert not await cache.place(sha256, tmp_path / "two")
    assert os.listdir(tmp_path / "cache") == []
    assert not (tmp_path / "two").exists()
    assert cache.total_bytes == 0


async def test_what_an_earlier_pod_left_is_taken_over_by_age_and_unfinished_downloads_go(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache", LIMIT)
    old, new = put(cache, b"o" * 400, tmp_path / "one"), put(cache, b"n" * 400, tmp_path / "two")
    os.utime(tmp_path / "cache" / old, (1, 1))
    cache.partial().write_bytes(b"half")
    again = ContentCache(tmp_path / "cache", 500)
    assert again.total_bytes == 400
    assert os.listdir(tmp_path / "cache") == [new]


async def test_what_does_not_fit_is_staged_all_the_same(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache", 10)
    put(cache, b"x" * 11, tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == b"x" * 11
    assert os.listdir(tmp_path / "cache") == []
