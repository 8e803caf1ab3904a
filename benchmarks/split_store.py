"""The split service on real Postgres and S3: splitting and listing a million images, and importing ten thousand."""

import asyncio
import hashlib
import io
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import psycopg
from figures import Figures
from PIL import Image
from psycopg.types.json import Jsonb
from split_sets import LabelSet, long_tailed
from splitrail.split.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    split_pb2,
    split_service_pb2,
    split_service_pb2_grpc,
)
from splitrail_client import AsyncClient
from splitrail_client.connection import Connection
from splitrail_common import ids, paging
from splitrail_common.annotations import Annotation, Kind, pack
from splitrail_common.database import open_pool
from splitrail_common.peers import bearer
from splitrail_local import s3
from splitrail_local.testing import RunningStack, running_stack
from splitrail_split.contents.store import ContentStore
from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain import arrays, digest
from splitrail_split.projects.store import ProjectStore

RUNS = 5
IMPORTED = 10_000
Columns = dict[str, np.ndarray]


class Folders:
    """What `running_stack` needs of pytest's factory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def mktemp(self, basename: str, numbered: bool = True) -> Path:
        """A new folder."""
        return Path(tempfile.mkdtemp(prefix=basename, dir=self._root))


def columns_of(labels: LabelSet) -> Columns:
    """A version's columns, as an import leaves them."""
    images = labels.images()
    return {
        arrays.CONTENT: images.content,
        arrays.ANNOTATION: np.random.default_rng(9).integers(0, 256, (labels.n, 32), dtype=np.uint8),
        arrays.LABEL_STATE: np.full(labels.n, 3, dtype=np.uint8),
        arrays.OBJECTS: np.diff(images.indptr),
        arrays.CLASS_IDS: images.class_ids,
        arrays.PERCEPTUAL_HASH: np.arange(labels.n, dtype=np.uint64),
        arrays.LINK_FIRST: np.zeros(0),
        arrays.LINK_SECOND: np.zeros(0),
        arrays.LINK_DISTANCE: np.zeros(0),
        arrays.NEXT_FRAME: np.full(labels.n, -1),
    }


def rows_of(labels: LabelSet, columns: Columns) -> Iterator[tuple[Any, ...]]:
    """`version_asset`'s rows; every image has one packed box, whose size is what counts here."""
    packed, nothing = pack([Annotation(0, Kind.BOX, (500_000, 500_000, 100_000, 100_000))] * 3), Jsonb({})
    for ordinal in range(labels.n):
        yield (
            ordinal,
            columns[arrays.CONTENT][ordinal].tobytes(),
            f"images/{ordinal:09}.jpg",
            640,
            480,
            50_000,
            "JPEG",
            3,
            packed,
            "",
            nothing,
        )


async def store_version(dsn: str, labels: LabelSet) -> tuple[str, str]:
    """Puts a committed version straight into the database: (dataset_id, version_id)."""
    dataset_id, version_id, columns = ids.new_id(), ids.new_id(), columns_of(labels)
    async with open_pool(dsn, size=2, deadline_seconds=30, package="splitrail_split") as pool:
        store = DatasetStore(pool, ProjectStore(pool), ContentStore(pool), arrays.ArrayCache(1 << 20))
        matrix = arrays.Labels(
            np.concatenate([[0], np.cumsum(columns[arrays.OBJECTS])]), labels.classes.astype(np.uint16)
        )
        class_images, class_objects = arrays.class_counts(matrix, labels.n_classes)
        names = [f"class{number}" for number in range(labels.n_classes)]
        version = {
            "version_id": version_id, "dataset_id": dataset_id, "project_id": "default", "number": 1, "class_names": names,
            "class_ids": list(range(labels.n_classes)), "base_version_id": None,
            "image_count": labels.n, "object_count": len(labels.classes), "empty_count": 0, "unlabelled_count": 0, "problem_count": 0,
            "class_images": class_images, "class_objects": class_objects, "report": Jsonb({}),
            "digest": digest.version_digest(columns[arrays.CONTENT], columns[arrays.ANNOTATION], columns[arrays.LABEL_STATE], names),
        }  # fmt: skip
        async with pool.connection() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO dataset (dataset_id, project_id, name, task, latest_version) VALUES (%s, 'default', 'million', 1, 1)",
                (dataset_id,),
            )
            await store.insert_version(connection, version, next_class_id=labels.n_classes)
            await store.insert_columns(
                connection, version_id, {name: arrays.encode(name, values) for name, values in columns.items()}
            )
            await store.insert_assets(connection, version_id, rows_of(labels, columns))
    return dataset_id, version_id


def packed_copy(dsn: str, n: int) -> float:
    """Seconds for a numpy-packed binary COPY of n rows (id uuid, split smallint) into a fresh table."""
    row = np.dtype([("fields", ">i2"), ("id_size", ">i4"), ("id", "V16"), ("split_size", ">i4"), ("split", ">i2")])
    table = np.zeros(n, dtype=row)
    table["fields"], table["id_size"], table["split_size"], table["split"] = 2, 16, 2, 1
    table["id"] = np.random.default_rng(0).integers(0, 256, (n, 16), dtype=np.uint8).view("V16").ravel()
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TEMP TABLE assignment (id uuid NOT NULL, split smallint NOT NULL)")
        start = time.perf_counter()
        with connection.cursor().copy("COPY assignment FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            data = memoryview(table.tobytes())
            for at in range(0, len(data), 1 << 20):
                copy.write(data[at : at + (1 << 20)])
            copy.write(b"\xff\xff")
        connection.commit()
        return time.perf_counter() - start


async def seconds_of(call: Callable[[], Awaitable[Any]]) -> float:
    """Wall seconds of a call."""
    start = time.perf_counter()
    await call()
    return time.perf_counter() - start


async def medians_of(*calls: Callable[[], Awaitable[float]], runs: int = RUNS) -> list[float]:
    """The median of what each call measures; they take turns, so that a busy moment of the machine meets all of them."""
    rounds = [[await call() for call in calls] for _ in range(runs)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


async def million(figures: Figures, stack: RunningStack) -> None:
    """CreateSplit, ListAssets and class counts on a version of a million images."""
    labels = long_tailed(1_000_000)
    dataset_id, version_id = await store_version(stack.dsn("split"), labels)
    metadata = bearer(stack.admin_token)
    async with grpc.aio.insecure_channel(stack.state.address("split")) as channel:
        splits, datasets = (
            split_service_pb2_grpc.SplitServiceStub(channel),
            dataset_service_pb2_grpc.DatasetServiceStub(channel),
        )
        ratios = split_pb2.SplitRatios(train=0.8, val=0.1, test=0.1)
        seeds = iter(range(100))

        async def copy() -> float:
            return packed_copy(stack.admin_dsn, labels.n)

        async def create() -> split_pb2.SplitRevision:
            parameters = split_pb2.SplitParameters(ratios=ratios, seed=next(seeds))
            request = split_service_pb2.CreateSplitRequest(version_id=version_id, parameters=parameters)
            return (await splits.CreateSplit(request, metadata=metadata, timeout=120)).split

        made = await create()  # compiles, and fills the cache of columns as a preview would
        created, copied = await medians_of(lambda: seconds_of(create), copy)
        figures.show(
            "CreateSplit of 1,000,000 images / a packed COPY of 1,000,000 rows", created / copied, "x", goal=("<=", 3.5)
        )
        with psycopg.connect(stack.dsn("split")) as connection:
            size = connection.execute(
                "SELECT pg_column_size(s.*) FROM split_revision s WHERE split_id = %s", (made.split_id,)
            ).fetchone()
            assert size is not None
        figures.show("bytes that a revision costs an image", size[0] / labels.n, "B", goal=("<=", 2))

        def page(after: int) -> Callable[[], Awaitable[float]]:
            request = dataset_service_pb2.ListAssetsRequest(
                dataset_id=dataset_id, split=dataset_pb2.PART_TEST, page_size=1000
            )
            request.page_token = paging.page(request).token([version_id, made.split_id, after])
            return lambda: seconds_of(lambda: datasets.ListAssets(request, metadata=metadata, timeout=60))

        await page(-1)()
        first, *deep = await medians_of(*(page(after) for after in (-1, 250_000, 500_000, 985_000)), runs=15)
        figures.show("ListAssets of test: the slowest deep page / the first", max(deep) / first, "x", goal=("<=", 1.5))
    async with (
        open_pool(stack.dsn("split"), size=1, deadline_seconds=30, package="splitrail_split") as pool,
        pool.connection() as connection,
    ):

        async def counts() -> None:
            await (
                await connection.execute(
                    "SELECT class_images, class_objects FROM version WHERE version_id = %s", (version_id,)
                )
            ).fetchone()

        [spent] = await medians_of(lambda: seconds_of(counts), runs=51)
        figures.show("counts of every class of 1,000,000 images: milliseconds", 1000 * spent, "ms", goal=("<=", 1))


def pictures(folder: Path, count: int) -> None:
    """A YOLO folder of noisy 640 x 480 photographs, as far as decoding is concerned."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text("names: [thing]\n")
    rng = np.random.default_rng(0)
    scenes = [
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)
        for _ in range(50)
    ]
    for number in range(count):
        buffer = io.BytesIO()
        scenes[number % 50].save(buffer, "JPEG", quality=85, comment=str(number).encode())
        (folder / "images" / f"{number}.jpg").write_bytes(buffer.getvalue())
        (folder / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")


def plain(folder: Path, target: Path) -> float:
    """CPU seconds to read, hash, decode and copy every image from disk to disk, one after the other."""
    target.mkdir()
    start = time.process_time()
    for path in sorted((folder / "images").iterdir()):
        data = path.read_bytes()
        (target / _looked_at(data)).write_bytes(data)
    return time.process_time() - start


def plain_in_store(stack: RunningStack) -> float:
    """The same within the object store, where an import finds the images and leaves them: fetch, hash, decode, put."""
    client = s3.client(stack.state)
    keys = [str(one.object_name) for one in client.list_objects(s3.BUCKET, prefix="projects/default/assets/")]
    start = time.process_time()
    for key in keys:
        response = client.get_object(s3.BUCKET, key)
        data = response.read()
        response.release_conn()
        client.put_object(s3.BUCKET, f"bench/{_looked_at(data)}", io.BytesIO(data), len(data))
    return time.process_time() - start


def _looked_at(data: bytes) -> str:
    """Hashes and decodes."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
    return hashlib.sha256(data).hexdigest()


async def importing(figures: Figures, stack: RunningStack, folder: Path) -> None:
    """The service's CPU for an import against a plain script's for what cannot be left out."""
    source = folder / "source"
    pictures(source, IMPORTED)
    service = psutil.Process(stack.pid("split"))

    def spent() -> float:
        times = service.cpu_times()
        return times.user + times.system

    before = spent()
    async with AsyncClient(Connection(stack.gateway_url, stack.admin_token, "arguments")) as client:
        await client.import_dataset(source, "imported")
    used = spent() - before
    on_disk, in_store = plain(source, folder / "copy"), plain_in_store(stack)
    figures.show(
        f"import of {IMPORTED:,} images: CPU / a script that copies them in the store",
        used / in_store,
        "x",
        goal=("<=", 1.3),
    )
    figures.show(f"import of {IMPORTED:,} images: CPU / a script that copies files", used / on_disk, "x")


def stored(figures: Figures) -> None:
    """All of it, on a stack of its own."""
    root = Path(tempfile.mkdtemp(prefix="splitrail-bench-"))
    try:
        with running_stack(Folders(root), only=("postgres", "s3", "split", "envoy")) as stack:
            asyncio.run(importing(figures, stack, root))
            asyncio.run(million(figures, stack))
    finally:
        shutil.rmtree(root)
