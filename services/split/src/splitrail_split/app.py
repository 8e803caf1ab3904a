"""The composition root: everything that the service is made of, joined here and nowhere else."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from splitrail.internal.split.v1 import staging_service_pb2, staging_service_pb2_grpc
from splitrail.metrics.v1 import metrics_service_pb2
from splitrail.split.v1 import (
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    export_service_pb2,
    export_service_pb2_grpc,
    import_service_pb2,
    import_service_pb2_grpc,
    project_service_pb2,
    project_service_pb2_grpc,
    split_service_pb2,
    split_service_pb2_grpc,
    version_service_pb2,
    version_service_pb2_grpc,
)
from splitrail.trainer.v1 import evaluation_service_pb2, run_service_pb2
from splitrail_common.database import open_pool
from splitrail_common.objects import ObjectStore
from splitrail_common.server import App, Draining, Servicer
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
from splitrail_split.imports.worker import ImportWorkers
from splitrail_split.projects.service import Projects
from splitrail_split.projects.servicer import ProjectServicer
from splitrail_split.projects.store import ProjectStore
from splitrail_split.settings import Settings
from splitrail_split.splits.inputs import SplitInputs
from splitrail_split.splits.lookup import SplitLookup
from splitrail_split.splits.manifest import Manifests
from splitrail_split.splits.service import Splits
from splitrail_split.splits.servicer import SplitServicer, StagingServicer
from splitrail_split.splits.store import SplitStore
from splitrail_split.versions.commit import Commits
from splitrail_split.versions.comparison import Comparisons
from splitrail_split.versions.incoming import Incoming
from splitrail_split.versions.service import Versions
from splitrail_split.versions.servicer import VersionServicer
from splitrail_split.versions.store import DraftStore

_PUBLIC = [
    run_service_pb2.DESCRIPTOR.services_by_name["RunService"],
    evaluation_service_pb2.DESCRIPTOR.services_by_name["EvaluationService"],
    metrics_service_pb2.DESCRIPTOR.services_by_name["MetricsService"],
]
"""Public services of the others: the gateway asks this one about all that it routes."""


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[App]:
    """Waits for Postgres and S3, then composes. Raises what they last said when they do not answer before the deadline."""
    deadline = settings.start_deadline_seconds
    draining = Draining()
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
            project_store = ProjectStore(pool)
            projects = Projects(project_store)
            dataset_store = DatasetStore(pool, project_store, content_store, cache)
            split_store = SplitStore(pool, project_store, dataset_store, cache)
            draft_store = DraftStore(pool, project_store, dataset_store, content_store)
            import_store = ImportStore(pool, project_store, content_store, dataset_store, split_store)

            urls = AssetUrls(objects)
            staging = Staging(objects, content_store)
            contents = Contents(objects, executor, settings.import_threads)

            inputs = SplitInputs(split_store, dataset_store)
            lookup = SplitLookup(split_store, inputs)
            datasets = Datasets(dataset_store, projects, lookup, Thumbnails(objects))
            assets = Assets(dataset_store, datasets, lookup, urls)

            incoming = Incoming(content_store, projects, contents, staging)
            comparisons = Comparisons(draft_store, dataset_store, datasets)
            commits = Commits(pool, project_store, draft_store, dataset_store)
            versions = Versions(
                draft_store,
                dataset_store=dataset_store,
                datasets=datasets,
                incoming=incoming,
                commits=commits,
                comparisons=comparisons,
            )

            splits = Splits(
                split_store, dataset_store=dataset_store, projects=projects, datasets=datasets, inputs=inputs, urls=urls
            )
            manifests = Manifests(splits, split_store, datasets, dataset_store, urls)
            exports = Exports(dataset_store, datasets=datasets, split_store=split_store, splits=splits, urls=urls)

            queued = asyncio.Event()
            imports = Imports(
                import_store,
                projects=projects,
                dataset_store=dataset_store,
                contents=content_store,
                staging=staging,
                queued=queued,
                draining=draining,
            )
            files = ImportFiles(import_store, content_store, contents, objects)
            importer = Importer(import_store, files, contents, Places(settings.import_prefixes, settings.s3_bucket))
            workers = ImportWorkers(
                import_store,
                importer,
                queued,
                draining,
                workers=settings.import_workers,
                lease_seconds=settings.import_lease_seconds,
            )
            sweeper = Sweeper(content_store, objects, draining, grace_seconds=settings.asset_grace_seconds)
            services = [
                Servicer.of(project_service_pb2, project_service_pb2_grpc, ProjectServicer(projects), "ProjectService"),
                Servicer.of(
                    dataset_service_pb2, dataset_service_pb2_grpc, DatasetServicer(datasets, assets), "DatasetService"
                ),
                Servicer.of(
                    version_service_pb2,
                    version_service_pb2_grpc,
                    VersionServicer(versions, incoming, comparisons),
                    "VersionService",
                ),
                Servicer.of(import_service_pb2, import_service_pb2_grpc, ImportServicer(imports), "ImportService"),
                Servicer.of(split_service_pb2, split_service_pb2_grpc, SplitServicer(splits), "SplitService"),
                Servicer.of(export_service_pb2, export_service_pb2_grpc, ExportServicer(exports), "ExportService"),
                Servicer.of(
                    staging_service_pb2, staging_service_pb2_grpc, StagingServicer(splits, manifests), "StagingService"
                ),
            ]
            verifier = Verifier.from_file(settings.jwks_file)
            yield App(services, verifier, draining, background=[workers.run, sweeper.run], reflected=_PUBLIC)
    finally:
        executor.shutdown(cancel_futures=True)
