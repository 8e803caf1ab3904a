"""Datasets, imports and exports."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from os import PathLike
from pathlib import Path

from google.protobuf.field_mask_pb2 import FieldMask
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, export_service_pb2, import_pb2, import_service_pb2

from .base import BaseClient
from .errors import UsageError
from .export import Export, ExportProgress, ExportResult
from .references import dataset_name, part_value, task_value
from .transfer import ImportProgress, ImportResult, ImportSpec, Transfer
from .vocabulary import EXPORT_FORMATS

DatasetLike = dataset_pb2.Dataset | str
"""A dataset or its name."""


class DatasetClient(BaseClient):
    """The part of AsyncClient that imports, exports, lists, changes and deletes datasets."""

    async def import_dataset(
        self,
        path: str | PathLike[str],
        name: str | None = None,
        *,
        task: str = "detect",
        strict: bool = False,
        dry_run: bool = False,
        progress: Callable[[ImportProgress], None] | None = None,
    ) -> ImportResult:
        """Imports a folder of images and annotations, or a .zip, .tar or .tar.gz of one. Files that the platform
        already has are not sent.

        `name` defaults to the folder's. `task`: detect, segment, pose, obb or classify.
        `strict` refuses a source with any problem; `dry_run` only reports.
        Raises UsageError for a folder that cannot be read or has no images, ImportFailedError when the import fails.
        """
        folder = Path(path)
        spec = ImportSpec(folder, self.project, name or dataset_name(folder), strict, dry_run, task_value(task))
        return await Transfer(self.channel, spec, progress or _ignore).run()

    async def export(
        self,
        reference: str,
        folder: str | PathLike[str],
        *,
        format: str = "yolo",
        parts: Sequence[str] = (),
        include_unlabelled: bool = False,
        progress: Callable[[ExportProgress], None] | None = None,
    ) -> ExportResult:
        """Writes the version that `cells@v3#2` names to a folder, as `yolo` (`yolo train data=data.yaml` works there)
        or `coco`.

        `parts` (`["test"]`): only these; `include_unlabelled`: also images in no part. The folder must be new, empty,
        or an interrupted run of the same export. Raises UsageError for any other folder, RefusedError for a part that
        has no images.
        """
        if format not in EXPORT_FORMATS:
            raise UsageError(f"{format!r} is not an export format: use {' or '.join(EXPORT_FORMATS)}")
        resolved = await self._resolve(reference)
        request = export_service_pb2.ExportVersionRequest(
            dataset_id=resolved.version.dataset_id,
            version_id=resolved.version.version_id,
            split_id=resolved.split_id,
            parts=[part_value(part) for part in ([parts] if isinstance(parts, str) else parts)],
            format=EXPORT_FORMATS[format],
            include_unlabelled=include_unlabelled,
        )
        result = await Export(self.channel, request, Path(folder), progress or _ignore).run()
        return result if parts else replace(result, left_out=resolved.version.image_count - result.end.image_count)

    async def problems(self, import_id: str) -> list[import_pb2.Problem]:
        """All problems of an import, by path and line."""
        request = import_service_pb2.ListProblemsRequest(import_id=import_id)
        return [
            item async for page in self._pages(self.channel.imports.ListProblems, request) for item in page.problems
        ]

    async def imports(
        self,
        dataset: str = "",
        *,
        state: import_pb2.ImportState.ValueType = import_pb2.IMPORT_STATE_UNSPECIFIED,
        limit: int = 0,
    ) -> list[import_pb2.Import]:
        """Imports of the project, newest first, without their problems. `dataset`: only into the one of this name;
        `limit` 0: all.
        """
        request = import_service_pb2.ListImportsRequest(project_id=self.project, dataset_name=dataset, state=state)
        found: list[import_pb2.Import] = []
        async with aclosing(self._pages(self.channel.imports.ListImports, request)) as pages:
            async for page in pages:
                found.extend(page.dataset_imports)
                if limit and len(found) >= limit:
                    break
        return found[:limit] if limit else found

    async def get_import(self, import_id: str) -> import_pb2.Import:
        """The current state of an import, with its report once it has ended."""
        request = import_service_pb2.GetImportRequest(import_id=import_id)
        return (await self.channel.call(self.channel.imports.GetImport, request)).dataset_import

    async def cancel_import(self, import_id: str) -> import_pb2.Import:
        """Ends an import without a version. Safe to repeat. Raises RefusedError (IMPORT_ENDED) when it has succeeded or
        failed.
        """
        request = import_service_pb2.CancelImportRequest(import_id=import_id)
        return (await self.channel.call(self.channel.imports.CancelImport, request)).dataset_import

    async def datasets(self) -> list[dataset_pb2.Dataset]:
        """Datasets of the project, newest first."""
        request = dataset_service_pb2.ListDatasetsRequest(project_id=self.project)
        return [
            item async for page in self._pages(self.channel.datasets.ListDatasets, request) for item in page.datasets
        ]

    async def create_dataset(
        self, name: str, task: str = "detect", *, external_id: str = "", labels: Mapping[str, str] | None = None
    ) -> dataset_pb2.Dataset:
        """Creates an empty dataset; `new_draft(name)` then starts its first version. An import creates its dataset
        itself.

        `task`: detect, segment, pose, obb or classify. `external_id`: the caller's own identifier of it.
        Raises RefusedError (ALREADY_EXISTS) when the name or the external_id is taken.
        """
        request = dataset_service_pb2.CreateDatasetRequest(
            project_id=self.project, name=name, task=task_value(task), external_id=external_id, labels=labels
        )
        return (await self.channel.call(self.channel.datasets.CreateDataset, request)).dataset

    async def update_dataset(
        self, dataset: DatasetLike, *, external_id: str | None = None, labels: Mapping[str, str] | None = None
    ) -> dataset_pb2.Dataset:
        """Changes the external_id ("" removes it) and the labels (all of them are replaced) of a dataset; None leaves
        them.

        Given a Dataset, it is changed only if nobody else has changed it since it was read: else RefusedError
        (ETAG_MISMATCH).
        """
        found = dataset if isinstance(dataset, dataset_pb2.Dataset) else await self.dataset(dataset)
        fields = [name for name, value in {"external_id": external_id, "labels": labels}.items() if value is not None]
        request = dataset_service_pb2.UpdateDatasetRequest(
            dataset_id=found.dataset_id,
            external_id=external_id or "",
            labels=labels,
            update_mask=FieldMask(paths=fields),
            etag=found.etag if isinstance(dataset, dataset_pb2.Dataset) else "",
        )
        return (await self.channel.call(self.channel.datasets.UpdateDataset, request)).dataset

    async def delete_dataset(self, dataset: DatasetLike) -> None:
        """Deletes a dataset with all versions, drafts and splits. Raises RefusedError (PINNED) while a job uses one of
        them.
        """
        found = dataset if isinstance(dataset, dataset_pb2.Dataset) else await self.dataset(dataset)
        request = dataset_service_pb2.DeleteDatasetRequest(dataset_id=found.dataset_id, allow_missing=True)
        await self.channel.call(self.channel.datasets.DeleteDataset, request)


def _ignore(_: ImportProgress | ExportProgress) -> None:
    return None
