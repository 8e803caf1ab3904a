"""Composition root of the split service."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from splitrail.split.v1 import (
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    export_service_pb2,
    export_service_pb2_grpc,
    import_service_pb2,
    import_service_pb2_grpc,
    split_service_pb2,
    split_service_pb2_grpc,
    version_service_pb2,
    version_service_pb2_grpc,
)
from splitrail_common.database import open_pool
from splitrail_common.objects import ObjectStore
from splitrail_common.server import Draining, Servicer, serve
from splitrail_common.tokens import Verifier

from splitrail_split.contents.staging import Staging
from splitrail_split.contents.store import ContentStore
from splitrail_split.contents.sweep import Sweeper
from splitrail_split.contents.thumbnails import Thumbnails
from splitrail_split.contents.urls import AssetUrls
from splitrail_split.contents.verify import Contents
from splitrail_split.datasets.assets import Assets
from splitrail_split.datasets.service import Datasets
from splitrail_split.datasets.servicer import DatasetServicer
from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain.arrays import ArrayCache
from splitrail_split.exports.service import Exports
from splitrail_split.exports.servicer import ExportServicer
from splitrail_split.imports.files import ImportFiles
from splitrail_split.imports.job import Importer
from splitrail_split.imports.places import Places
from splitrail_split.imports.service import Imports
from splitrail_split.imports.servicer import ImportServicer
from splitrail_split.imports.store import ImportStore
from splitrail_split.imports.worker import ImportQueue, ImportWorkers
from splitrail_split.settings import Settings
from splitrail_split.splits.inputs import SplitInputs
from splitrail_split.splits.lookup import SplitLookup
from splitrail_split.splits.manifest import Manifests
from splitrail_split.splits.service import Splits
from splitrail_split.splits.servicer import SplitServicer
from splitrail_split.splits.store import SplitStore
from splitrail_split.versions.commit import Commits
from splitrail_split.versions.comparison import Comparisons
from splitrail_split.versions.incoming import Incoming
from splitrail_split.versions.service import Versions
from splitrail_split.versions.servicer import VersionServicer
from splitrail_split.versions.store import DraftStore


@dataclass(frozen=True, slots=True)
class App:
    """The service, built: what to serve and what runs beside it."""

    servicers: list[Servicer]
    workers: ImportWorkers
    sweeper: Sweeper


@asynccontextmanager
async def build(settings: Settings, draining: Draining) -> AsyncIterator[App]:
    """Waits for Postgres and S3, then composes. Raises what they last said when they do not answer before the deadline."""
    deadline = settings.start_deadline_seconds
    objects = ObjectStore(settings)
    executor = ThreadPoolExecutor(settings.import_threads, thread_name_prefix="import")
    try:
        async with open_pool(
            settings.database_dsn.get_secret_value(),
            size=settings.database_pool_size,
            deadline_seconds=deadline,
            package="splitrail_split",
        ) as pool:
            await objects.wait(deadline)
            cache = ArrayCache(settings.array_cache_bytes)
            content_store = ContentStore(pool)
            dataset_store = DatasetStore(pool, content_store, cache)
            split_store = SplitStore(pool, dataset_store, cache)
            draft_store = DraftStore(pool, dataset_store, content_store)
            import_store = ImportStore(pool, content_store, dataset_store, split_store)

            urls = AssetUrls(objects)
            staging = Staging(objects, content_store)
            contents = Contents(objects, executor, settings.import_threads)

            inputs = SplitInputs(split_store, dataset_store)
            lookup = SplitLookup(split_store, inputs)
            datasets = Datasets(dataset_store, lookup, Thumbnails(objects))
            assets = Assets(dataset_store, datasets, lookup, urls)

            incoming = Incoming(content_store, datasets, contents, staging)
            comparisons = Comparisons(draft_store, dataset_store, datasets)
            commits = Commits(pool, draft_store, dataset_store)
            versions = Versions(
                draft_store, dataset_store=dataset_store, datasets=datasets, incoming=incoming, commits=commits, comparisons=comparisons
            )

            splits = Splits(split_store, dataset_store, datasets, inputs, urls)
            manifests = Manifests(splits, split_store, datasets, dataset_store, urls)
            exports = Exports(dataset_store, datasets=datasets, split_store=split_store, splits=splits, urls=urls)

            queue = ImportQueue()
            imports = Imports(
                import_store,
                datasets=datasets,
                dataset_store=dataset_store,
                contents=content_store,
                staging=staging,
                queue=queue,
                draining=draining,
            )
            files = ImportFiles(import_store, content_store, contents, objects)
            importer = Importer(import_store, files, contents, Places(settings.import_prefixes, settings.s3_bucket))
            workers = ImportWorkers(
                import_store, importer, queue, draining, workers=settings.import_workers, lease_seconds=settings.import_lease_seconds
            )
            servicers = _servicers(
                DatasetServicer(datasets, assets),
                ImportServicer(imports),
                SplitServicer(splits, manifests),
                ExportServicer(exports),
                VersionServicer(versions, incoming, comparisons),
            )
            yield App(servicers, workers, Sweeper(content_store, objects, draining, grace_seconds=settings.asset_grace_seconds))
    finally:
        executor.shutdown(cancel_futures=True)


def _servicers(
    datasets: DatasetServicer, imports: ImportServicer, splits: SplitServicer, exports: ExportServicer, versions: VersionServicer
) -> list[Servicer]:
    return [
        Servicer(
            dataset_service_pb2.DESCRIPTOR.services_by_name["DatasetService"],
            lambda server: dataset_service_pb2_grpc.add_DatasetServiceServicer_to_server(datasets, server),
        ),
        Servicer(
            import_service_pb2.DESCRIPTOR.services_by_name["ImportService"],
            lambda server: import_service_pb2_grpc.add_ImportServiceServicer_to_server(imports, server),
        ),
        Servicer(
            split_service_pb2.DESCRIPTOR.services_by_name["SplitService"],
            lambda server: split_service_pb2_grpc.add_SplitServiceServicer_to_server(splits, server),
        ),
        Servicer(
            export_service_pb2.DESCRIPTOR.services_by_name["ExportService"],
            lambda server: export_service_pb2_grpc.add_ExportServiceServicer_to_server(exports, server),
        ),
        Servicer(
            version_service_pb2.DESCRIPTOR.services_by_name["VersionService"],
            lambda server: version_service_pb2_grpc.add_VersionServiceServicer_to_server(versions, server),
        ),
    ]


async def run(settings: Settings) -> None:
    """Serves until the process is asked to end."""
    draining = Draining()
    async with build(settings, draining) as app:
        tasks = [app.workers.run(), app.sweeper.run()]
        await serve(settings.listen, app.servicers, Verifier.from_file(settings.jwks_file), draining=draining, tasks=tasks)
