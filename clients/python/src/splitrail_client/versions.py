"""Creating versions by hand: a draft of a base version is changed image by image, then committed as a whole."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import httpx
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, import_pb2, version_pb2, version_service_pb2

from .base import PAGE, BaseClient, explaining_not_found, is_version_id
from .channel import LONG_DEADLINE_SECONDS, Channel
from .errors import RefusedError, UsageError, Violation
from .references import version_reference
from .source import HashedFile, LocalFile, Source, scan
from .text import plain
from .transfer import LIMITS, NO_PROXY, TIMEOUT, ImportProgress, Report, read, upload

VersionLike = dataset_pb2.DatasetVersion | str
"""A version or draft, `cells@v3`, `cells@draft` (when there is only one), or a version_id."""
ANNOTATION_FILES = "annotation files"
"""Key in `Source.left_out` for annotation files in a folder of images, which a draft does not read."""
_REQUEST_BYTES = 2 << 20  # half of what a service accepts, so that one more image with many annotations fits
_ENTRY = re.compile(r"^(assets|contents)\[(\d+)\]")


@dataclass(frozen=True)
class DraftChange:
    """The result of adding images to a draft."""

    version: dataset_pb2.DatasetVersion
    """The draft after the change."""
    added: int
    changed: int
    unchanged: int
    """Images that already were as requested."""
    uploaded_files: int
    """Number of files that had to be sent."""
    uploaded_bytes: int


class VersionClient(BaseClient):
    """The part of AsyncClient that creates, compares and deletes datasets and versions."""

    async def versions(self, dataset: str) -> list[dataset_pb2.DatasetVersion]:
        """Committed versions of the dataset of this name, newest first. For drafts, see `drafts`."""
        request = dataset_service_pb2.ListVersionsRequest(dataset_id=(await self.dataset(dataset)).dataset_id)
        return [
            item async for page in self._pages(self.channel.datasets.ListVersions, request) for item in page.versions
        ]

    async def new_draft(self, base: VersionLike) -> dataset_pb2.DatasetVersion:
        """Starts a draft of the version `base`, with its images and classes.

        The name of a dataset means its newest version; when it has none, the draft starts empty.
        """
        request = version_service_pb2.CreateVersionRequest()
        named = (
            await self.dataset(base) if isinstance(base, str) and "@" not in base and not is_version_id(base) else None
        )
        if named is not None and not named.latest_version:
            request.dataset_id = named.dataset_id
        else:
            found = await self._found(base)
            request.dataset_id, request.base_version_id = found.dataset_id, found.version_id
        return (await self.channel.call(self.channel.versions.CreateVersion, request)).version

    async def upsert_assets(
        self,
        draft: VersionLike,
        assets: Sequence[version_pb2.AssetUpsert] = (),
        *,
        images: str | PathLike[str] | None = None,
        into: str = "",
        progress: Callable[[ImportProgress], None] | None = None,
    ) -> DraftChange:
        """Adds and changes images of a draft: bytes, path, annotations, label state, metadata. Fields that an
        AssetUpsert does not set stay.

        `images`: a local image or a folder of images, sent unless the platform has them. Their paths in the draft are
        those within the folder, below `into`; an existing asset of such a path gets these bytes. Annotations come from
        `assets` only: only imports read label files.

        Raises UsageError for files that cannot be read, RefusedError that names each refused image. Running it again is
        safe and resumes it.
        """
        found = await self._found(draft)
        report = progress or (lambda _: None)
        source, files = (
            (Source(Path(), (), ""), list[HashedFile]())
            if images is None
            else await read(lambda: _images(Path(images)), report)
        )
        return await _DraftUpload(self.channel, found, source.root, report).run(*_joined(assets, files, into))

    async def delete_assets(
        self, draft: VersionLike, paths: Sequence[str] = (), *, external_ids: Sequence[str] = ()
    ) -> version_service_pb2.DeleteAssetsResponse:
        """Removes images from a draft. Unknown ones are ignored; the response says how many were removed."""
        found = await self._found(draft)
        ids = [("paths", item) for item in paths] + [("external_ids", item) for item in external_ids]
        whole = version_service_pb2.DeleteAssetsResponse(version=found)
        for start in range(0, len(ids), PAGE):
            request = version_service_pb2.DeleteAssetsRequest(dataset_id=found.dataset_id, version_id=found.version_id)
            for field, item in ids[start : start + PAGE]:
                getattr(request, field).append(item)
            answer = await self.channel.call(self.channel.versions.DeleteAssets, request)
            whole.deleted_count += answer.deleted_count
            whole.version.CopyFrom(answer.version)
        return whole

    async def update_classes(
        self,
        draft: VersionLike,
        *,
        add: Sequence[str] = (),
        rename: Mapping[str, str] | None = None,
        merge: Mapping[str, str] | None = None,
    ) -> version_service_pb2.UpdateClassesResponse:
        """Changes the classes of a draft: adds, then renames (old name -> new name), then merges (merged class -> the
        class that gets its objects).

        Positions of classes stay; the commit closes the gaps of merged ones. Raises UsageError when the draft has no
        class of a name.
        """
        found = await self._found(draft)
        changes = [version_pb2.ClassChange(add=version_pb2.AddClass(name=name)) for name in add]
        if changes:  # in a request of their own: renaming and merging may name them, and need their ids
            answer = await self._change_classes(found, changes)
            if not rename and not merge:
                return answer
        classes = await self.version(found.version_id)
        ids = dict(zip(classes.class_names, classes.class_ids, strict=True))
        changes = []
        for old, new in (rename or {}).items():
            class_id = _class_id(ids, old)
            del ids[old]
            ids[new] = class_id
            changes.append(version_pb2.ClassChange(rename=version_pb2.RenameClass(class_id=class_id, name=new)))
        for ending, into in (merge or {}).items():
            merged = version_pb2.MergeClass(class_id=_class_id(ids, ending), into_class_id=_class_id(ids, into))
            changes.append(version_pb2.ClassChange(merge=merged))
        return await self._change_classes(found, changes)

    async def commit(
        self, draft: VersionLike, *, expected_base: VersionLike | None = None
    ) -> dataset_pb2.DatasetVersion:
        """Commits a draft as the dataset's next version, under the same version_id. A draft equal to the newest version
        returns that version.

        Committing again returns the same. Raises RefusedError with the reason BASE_MOVED when the dataset's newest
        version is not the draft's base, or not `expected_base`: naming the newest version there replaces it by the
        draft, without merging.
        """
        version_id = await self.version_id(draft)
        request = version_service_pb2.CommitVersionRequest(
            version_id=version_id,
            expected_base_version_id=(await self._found(expected_base)).version_id if expected_base else "",
        )
        with explaining_not_found(version_id):
            return (
                await self.channel.call(self.channel.versions.CommitVersion, request, seconds=LONG_DEADLINE_SECONDS)
            ).version

    async def version_id(self, version: VersionLike) -> str:
        """The id of a version or draft. An id is returned without looking it up: only `commit` knows a draft that
        equalled a version.
        """
        if isinstance(version, str) and is_version_id(version):
            return version
        return (await self._found(version)).version_id

    async def diff(
        self, version: VersionLike, before: VersionLike | None = None, *, annotations: bool = False
    ) -> version_service_pb2.DiffVersionsResponse:
        """The differences between a version or draft and the version `before` (default: its base): counts, classes,
        images.

        `annotations`: include the annotations of the images. Raises UsageError for versions of two datasets.
        """
        found = await self._found(version)
        other = await self._found(before) if before else None
        if other is not None and other.dataset_id != found.dataset_id:
            raise UsageError(
                f"{found.dataset_name} and {other.dataset_name} are different datasets: only versions of one dataset can be compared"
            )
        request = version_service_pb2.DiffVersionsRequest(
            dataset_id=found.dataset_id,
            version_id=found.version_id,
            other_version_id=other.version_id if other else "",
            include_annotations=annotations,
        )
        whole = version_service_pb2.DiffVersionsResponse()
        async for page in self._pages(self.channel.versions.DiffVersions, request):
            if not request.page_token:  # equal on every page
                whole.counts.CopyFrom(page.counts)
                whole.classes.extend(page.classes)
            whole.assets.extend(page.assets)
        return whole

    async def discard_draft(self, draft: VersionLike) -> None:
        """Deletes a draft. Raises RefusedError for a committed version."""
        found = await self._found(draft)
        request = version_service_pb2.DeleteDraftRequest(
            dataset_id=found.dataset_id, version_id=found.version_id, allow_missing=True
        )
        await self.channel.call(self.channel.versions.DeleteDraft, request)

    async def delete_version(self, version: VersionLike) -> None:
        """Deletes `cells@v3` with its splits. Raises RefusedError (PINNED) while a job uses it or a draft is based on
        it.

        UsageError for `cells` or `cells@v3#1`, which only imply a version.
        """
        found = await self._found(version)
        if isinstance(version, str) and version not in (named := version_reference(found), found.version_id):
            raise UsageError(
                f"{version} does not name a version, so nothing was deleted: use {named} to delete that one"
            )
        request = version_service_pb2.DeleteVersionRequest(
            dataset_id=found.dataset_id, version_id=found.version_id, allow_missing=True
        )
        await self.channel.call(self.channel.versions.DeleteVersion, request)

    async def _found(self, version: VersionLike) -> dataset_pb2.DatasetVersion:
        return await self.version(version) if isinstance(version, str) else version

    async def _change_classes(
        self, draft: dataset_pb2.DatasetVersion, changes: Sequence[version_pb2.ClassChange]
    ) -> version_service_pb2.UpdateClassesResponse:
        request = version_service_pb2.UpdateClassesRequest(
            dataset_id=draft.dataset_id, version_id=draft.version_id, changes=changes
        )
        return await self.channel.call(self.channel.versions.UpdateClasses, request)


class _DraftUpload:
    """Uploads images into a draft."""

    def __init__(self, channel: Channel, draft: dataset_pb2.DatasetVersion, root: Path, report: Report) -> None:
        self._channel = channel
        self._draft = draft
        self._root = root
        self._report = report
        self._done = self._total = 0
        self._sent_files = self._sent_bytes = 0

    async def run(self, assets: Sequence[version_pb2.AssetUpsert], files: Mapping[str, HashedFile]) -> DraftChange:
        """Page by page, bytes first, so that no upload expires before it is used. `files`: by path in the draft."""
        self._total = len(files)
        whole = version_service_pb2.UpsertAssetsResponse(version=self._draft)
        start = 0
        async with httpx.AsyncClient(timeout=TIMEOUT, limits=LIMITS, mounts=NO_PROXY) as http:
            for page in _pages(assets):
                await self._send(http, [files[asset.path] for asset in page if asset.path in files])
                answer = await self._upsert(page, start)
                whole.added_count += answer.added_count
                whole.changed_count += answer.changed_count
                whole.unchanged_count += answer.unchanged_count
                whole.version.CopyFrom(answer.version)
                start += len(page)
        return DraftChange(
            whole.version,
            whole.added_count,
            whole.changed_count,
            whole.unchanged_count,
            self._sent_files,
            self._sent_bytes,
        )

    async def _send(self, http: httpx.AsyncClient, files: Sequence[HashedFile]) -> None:
        if not files:
            return
        uploads = await self._missing(files)
        self._settled(len(files) - len(uploads))
        await upload(http, self._root, files, uploads, announce=self._missing, sent=self._uploaded)

    async def _missing(self, files: Sequence[HashedFile]) -> list[import_pb2.Upload]:
        contents = {item.sha256: item for item in files}
        request = version_service_pb2.CheckAssetsRequest(
            project_id=self._draft.project_id,
            contents=[
                version_pb2.AssetContent(sha256=item.sha256, size_bytes=item.size_bytes) for item in contents.values()
            ],
        )
        try:
            return list((await self._channel.call(self._channel.versions.CheckAssets, request)).uploads)
        except RefusedError as error:
            raise _named(error, [item.path for item in contents.values()]) from error

    async def _upsert(
        self, page: Sequence[version_pb2.AssetUpsert], start: int
    ) -> version_service_pb2.UpsertAssetsResponse:
        request = version_service_pb2.UpsertAssetsRequest(
            dataset_id=self._draft.dataset_id, version_id=self._draft.version_id, assets=page
        )
        try:
            return await self._channel.call(self._channel.versions.UpsertAssets, request, seconds=LONG_DEADLINE_SECONDS)
        except RefusedError as error:
            raise _named(error, [asset.external_id or asset.path for asset in page], start) from error

    def _uploaded(self, item: HashedFile) -> None:
        self._sent_files += 1
        self._sent_bytes += item.size_bytes
        self._settled(1)

    def _settled(self, count: int) -> None:
        self._done += count
        self._report(ImportProgress("uploading", self._done, self._total))


def _images(path: Path) -> Source:
    """One image, or those of a folder. Blocking. Raises UsageError."""
    if path.is_file():
        image = LocalFile(path.name, path.stat().st_size)
        if not image.is_image:
            raise UsageError(f"{plain(str(path))} is not an image: give an image or a folder of images")
        return Source(path.parent, (image,), "image")
    source = scan(path)
    images = tuple(item for item in source.files if item.is_image)
    left_out = source.left_out.copy()
    if beside := len(source.files) - len(images):
        left_out[ANNOTATION_FILES] = beside
    return replace(source, files=images, left_out=left_out)


def _joined(
    assets: Sequence[version_pb2.AssetUpsert], files: Sequence[HashedFile], into: str
) -> tuple[list[version_pb2.AssetUpsert], dict[str, HashedFile]]:
    """Assets with the hashes of the files at their paths, then one asset for each other file; and the files by path in
    the draft.
    """
    folder = f"{into.strip('/')}/" if into.strip("/") else ""
    by_path = {folder + item.path: item for item in files}
    made = []
    for asset in assets:
        one = version_pb2.AssetUpsert()
        one.CopyFrom(asset)
        if asset.path in by_path:
            one.sha256 = by_path[asset.path].sha256
        made.append(one)
    named = {asset.path for asset in assets}
    made += [
        version_pb2.AssetUpsert(path=path, sha256=item.sha256) for path, item in by_path.items() if path not in named
    ]
    return made, by_path


def _pages(assets: Sequence[version_pb2.AssetUpsert]) -> Iterator[list[version_pb2.AssetUpsert]]:
    """Pages that fit into one request."""
    page: list[version_pb2.AssetUpsert] = []
    size = 0
    for asset in assets:
        if page and (len(page) == PAGE or size + asset.ByteSize() > _REQUEST_BYTES):
            yield page
            page, size = [], 0
        page.append(asset)
        size += asset.ByteSize()
    if page:
        yield page


def _named(error: RefusedError, names: Sequence[str], start: int = 0) -> RefusedError:
    """A refusal of a page that begins at entry `start`: its entries numbered over all pages, and with their names."""

    def named(violation: Violation) -> Violation:
        match = _ENTRY.match(violation.field)
        if match is None:
            return violation
        index = int(match[2])
        return Violation(
            f"{match[1]}[{start + index}]{violation.field[match.end() :]}", f"{names[index]}: {violation.description}"
        )

    violations = [named(violation) for violation in error.violations]
    return RefusedError(
        error.message, code=error.code, reason=error.reason, metadata=error.metadata, violations=violations
    )


def _class_id(ids: Mapping[str, int], name: str) -> int:
    if name not in ids:
        raise UsageError(f"the draft has no class {name!r}; it has: {', '.join(ids) or 'none'}")
    return ids[name]
