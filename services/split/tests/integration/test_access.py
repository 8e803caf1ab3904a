"""Who may do what: projects are walls, and every RPC has a rule."""

import grpc
import pytest
from splitrail.internal.split.v1 import staging_service_pb2
from splitrail.split.v1 import (
    dataset_service_pb2,
    export_service_pb2,
    import_service_pb2,
    project_service_pb2,
    split_pb2,
    split_service_pb2,
    version_service_pb2,
)
from splitrail_common.ids import new_id
from splitrail_common.peers import bearer

pytestmark = pytest.mark.integration


def calls(api, version, split_id, import_id):
    """Every RPC that names something, by its name."""
    ids = {"dataset_id": version.dataset_id, "version_id": version.version_id}
    parameters = split_pb2.SplitParameters(ratios=split_pb2.SplitRatios(train=1))
    d, i, s, v, p = dataset_service_pb2, import_service_pb2, split_service_pb2, version_service_pb2, project_service_pb2
    return {
        "CreateDataset": (
            api.datasets.CreateDataset,
            d.CreateDatasetRequest(project_id=version.project_id, name="new"),
        ),
        "GetProject": (api.projects.GetProject, p.GetProjectRequest(project_id=version.project_id)),
        "ArchiveProject": (api.projects.ArchiveProject, p.ArchiveProjectRequest(project_id=version.project_id)),
        "UnarchiveProject": (api.projects.UnarchiveProject, p.UnarchiveProjectRequest(project_id=version.project_id)),
        "UpdateDataset": (
            api.datasets.UpdateDataset,
            d.UpdateDatasetRequest(dataset_id=version.dataset_id, update_mask={"paths": ["labels"]}),
        ),
        "DeleteDataset": (api.datasets.DeleteDataset, d.DeleteDatasetRequest(dataset_id=version.dataset_id)),
        "CheckAssets": (
            api.versions.CheckAssets,
            v.CheckAssetsRequest(project_id=version.project_id, contents=[{"sha256": "0" * 64, "size_bytes": 1}]),
        ),
        "CreateVersion": (api.versions.CreateVersion, v.CreateVersionRequest(dataset_id=version.dataset_id)),
        "ListDrafts": (api.versions.ListDrafts, v.ListDraftsRequest(dataset_id=version.dataset_id)),
        "UpsertAssets": (api.versions.UpsertAssets, v.UpsertAssetsRequest(**ids, assets=[{"path": "a.jpg"}])),
        "DeleteAssets": (api.versions.DeleteAssets, v.DeleteAssetsRequest(**ids, paths=["a.jpg"])),
        "UpdateClasses": (api.versions.UpdateClasses, v.UpdateClassesRequest(**ids, changes=[{"add": {"name": "x"}}])),
        "CommitVersion": (api.versions.CommitVersion, v.CommitVersionRequest(**ids)),
        "DiffVersions": (api.versions.DiffVersions, v.DiffVersionsRequest(**ids)),
        "DeleteDraft": (api.versions.DeleteDraft, v.DeleteDraftRequest(**ids)),
        "DeleteVersion": (api.versions.DeleteVersion, v.DeleteVersionRequest(**ids)),
        "GetDataset": (api.datasets.GetDataset, d.GetDatasetRequest(dataset_id=version.dataset_id)),
        "GetVersion": (api.datasets.GetVersion, d.GetVersionRequest(**ids)),
        "ListVersions": (api.datasets.ListVersions, d.ListVersionsRequest(dataset_id=version.dataset_id)),
        "ListAssets": (api.datasets.ListAssets, d.ListAssetsRequest(**ids)),
        "ResolveVersion": (
            api.datasets.ResolveVersion,
            d.ResolveVersionRequest(project_id=version.project_id, reference="cells"),
        ),
        "ResolveVersionById": (api.datasets.ResolveVersion, d.ResolveVersionRequest(reference=version.version_id)),
        "ListDatasets": (api.datasets.ListDatasets, d.ListDatasetsRequest(project_id=version.project_id)),
        "CreateImport": (
            api.imports.CreateImport,
            i.CreateImportRequest(project_id=version.project_id, dataset_name="x"),
        ),
        "AddFiles": (
            api.imports.AddFiles,
            i.AddFilesRequest(import_id=import_id, files=[{"path": "a.jpg", "sha256": "0" * 64}]),
        ),
        "StartImport": (api.imports.StartImport, i.StartImportRequest(import_id=import_id)),
        "GetImport": (api.imports.GetImport, i.GetImportRequest(import_id=import_id)),
        "ListImports": (api.imports.ListImports, i.ListImportsRequest(project_id=version.project_id)),
        "CancelImport": (api.imports.CancelImport, i.CancelImportRequest(import_id=import_id)),
        "ListProblems": (api.imports.ListProblems, i.ListProblemsRequest(import_id=import_id)),
        "CreateSplit": (api.splits.CreateSplit, s.CreateSplitRequest(**ids, parameters=parameters)),
        "GetSplit": (api.splits.GetSplit, s.GetSplitRequest(split_id=split_id)),
        "GetCurrentSplit": (api.splits.GetSplit, s.GetSplitRequest(**ids)),
        "ListSplits": (api.splits.ListSplits, s.ListSplitsRequest(**ids)),
        "DeleteSplit": (api.splits.DeleteSplit, s.DeleteSplitRequest(split_id=split_id)),
        "CheckContamination": (
            api.splits.CheckContamination,
            s.CheckContaminationRequest(split_id=split_id, part=1, trained_split_id=split_id),
        ),
        "PreviewSplit": (api.splits.PreviewSplit, s.PreviewSplitRequest(**ids, parameters=parameters)),
        "CompareSplits": (
            api.splits.CompareSplits,
            s.CompareSplitsRequest(split_id=split_id, before_split_id=split_id),
        ),
        "FindLeaks": (api.splits.FindLeaks, s.FindLeaksRequest(split_id=split_id)),
    }


ELSEWHERE = {
    "WatchImport",
    "StreamManifest",
    "PinSplit",
    "ExportVersion",
    "GetThumbnail",
    "CreateProject",
    "ListProjects",
}
"""Streams, answers that are no messages and calls of machines: and what names no project that is there: tested below,
in test_assets.py, test_exports.py, test_projects.py and test_splits.py.
"""


async def test_every_rpc_is_in_the_matrix(api, made):
    services = [
        (dataset_service_pb2, "DatasetService"),
        (export_service_pb2, "ExportService"),
        (import_service_pb2, "ImportService"),
        (project_service_pb2, "ProjectService"),
        (split_service_pb2, "SplitService"),
        (staging_service_pb2, "StagingService"),
        (version_service_pb2, "VersionService"),
    ]
    methods = {method.name for module, name in services for method in module.DESCRIPTOR.services_by_name[name].methods}
    assert methods - ELSEWHERE == {
        method._method.decode().rpartition("/")[2] for method, _ in calls(api, *made).values()
    }


async def code_of(api, method, request) -> grpc.StatusCode:
    try:
        await api.call(method, request)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.fixture
async def made(api, sources):
    ended = await api.bring(sources.yolo(8))
    return ended.version, (await api.split(ended.version.version_id)).split_id, ended.import_id


async def test_another_projects_things_are_not_found(api, made):
    stranger = api.as_user(elsewhere="admin")
    found = {name: await code_of(stranger, method, request) for name, (method, request) in calls(api, *made).items()}
    assert found == dict.fromkeys(found, grpc.StatusCode.NOT_FOUND)
    everything = await stranger.call(stranger.datasets.ListDatasets, dataset_service_pb2.ListDatasetsRequest())
    assert list(everything.datasets) == []
    request = import_service_pb2.WatchImportRequest(import_id=made[2])
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await api.imports.WatchImport(request, metadata=stranger.metadata).read()
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_split_of_another_project_is_no_base_and_no_comparison(api, made, sources):
    """Naming one's own split beside a stranger's opens no way to that one."""
    foreign = made[1]
    stranger = api.as_user(elsewhere="admin")
    api.place.execute("INSERT INTO project (project_id) VALUES ('elsewhere')")
    opened = await stranger.call(
        stranger.imports.CreateImport,
        import_service_pb2.CreateImportRequest(project_id="elsewhere", dataset_name="own"),
    )
    own_import = opened.dataset_import.import_id
    files = sources.yolo(8)
    await stranger.upload(await stranger.announce(own_import, files), files)
    await stranger.start(own_import)
    version = (await stranger.watch(own_import)).version
    own = (await stranger.split(version.version_id)).split_id
    s = split_service_pb2
    based = split_pb2.SplitParameters(ratios=split_pb2.SplitRatios(train=1), base_split_id=foreign)
    requests = [
        (api.splits.CreateSplit, s.CreateSplitRequest(version_id=version.version_id, parameters=based)),
        (api.splits.PreviewSplit, s.PreviewSplitRequest(version_id=version.version_id, parameters=based)),
        (api.splits.CompareSplits, s.CompareSplitsRequest(split_id=own, before_split_id=foreign)),
        (api.splits.CompareSplits, s.CompareSplitsRequest(split_id=foreign, before_split_id=own)),
    ]
    assert {await code_of(stranger, method, request) for method, request in requests} == {grpc.StatusCode.NOT_FOUND}


async def test_an_attempt_of_another_project_finds_no_split(api, made):
    attempt = api.as_attempt(made[1], "train", project="elsewhere")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await api.staging.StreamManifest(
            staging_service_pb2.StreamManifestRequest(split_id=made[1], parts=[1]), metadata=attempt.metadata
        ).read()
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_nobody_and_strangers_are_refused(api, made):
    for metadata in ((), bearer("nonsense"), bearer(api.place.stack.user_token({"*": "admin"}, lifetime=-3600))):
        nobody = api.as_(metadata)
        found = {name: await code_of(nobody, method, request) for name, (method, request) in calls(api, *made).items()}
        assert found == dict.fromkeys(found, grpc.StatusCode.UNAUTHENTICATED)


async def test_roles(api, made):
    project = api.place.project
    viewer, editor = api.as_user(**{project: "viewer"}), api.as_user(**{project: "editor"})
    deleting = {"DeleteSplit", "DeleteVersion", "DeleteDataset", "ArchiveProject", "UnarchiveProject"}
    changing = {
        *(
            "CreateImport",
            "AddFiles",
            "StartImport",
            "CreateSplit",
            "CreateDataset",
            "CheckAssets",
            "CreateVersion",
            "UpsertAssets",
            "DeleteAssets",
        ),
        *("UpdateClasses", "CommitVersion", "DeleteDraft", "UpdateDataset", "CancelImport"),
    }
    for name, (method, request) in calls(api, *made).items():
        denied = await code_of(viewer, method, request) is grpc.StatusCode.PERMISSION_DENIED
        assert denied == (name in changing or name in deleting), name
        denied = await code_of(editor, method, request) is grpc.StatusCode.PERMISSION_DENIED
        assert denied == (name in deleting), name
    pin = staging_service_pb2.PinSplitRequest(split_id=made[1], job_id=new_id())
    assert await code_of(api, api.staging.PinSplit, pin) is grpc.StatusCode.PERMISSION_DENIED
    assert await code_of(api.as_service(), api.staging.PinSplit, pin) is grpc.StatusCode.OK


async def test_a_version_is_found_in_its_own_dataset_only(api, made, sources):
    other = (await api.bring(sources.yolo(4), "others")).version
    request = dataset_service_pb2.GetVersionRequest(dataset_id=other.dataset_id, version_id=made[0].version_id)
    assert await code_of(api, api.datasets.GetVersion, request) is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "page_token",
    [
        "x",
        "WyJhIl0",
        "WzFd" * 3,
        "WzE4NDQ2NzQ0MDczNzA5NTUxNjE2XQ",
        "WyIwMTkwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMCciXQ",
    ],
)
async def test_forged_page_tokens(api, made, page_token):
    version, split_id, import_id = made
    d = dataset_service_pb2
    requests = [
        (api.datasets.ListDatasets, d.ListDatasetsRequest(page_token=page_token)),
        (api.datasets.ListVersions, d.ListVersionsRequest(dataset_id=version.dataset_id, page_token=page_token)),
        (api.datasets.ListAssets, d.ListAssetsRequest(dataset_id=version.dataset_id, page_token=page_token)),
        (api.imports.ListProblems, import_service_pb2.ListProblemsRequest(import_id=import_id, page_token=page_token)),
        (
            api.splits.CompareSplits,
            split_service_pb2.CompareSplitsRequest(split_id=split_id, before_split_id=split_id, page_token=page_token),
        ),
        (api.splits.FindLeaks, split_service_pb2.FindLeaksRequest(split_id=split_id, page_token=page_token)),
    ]
    assert {await code_of(api, method, request) for method, request in requests} == {grpc.StatusCode.INVALID_ARGUMENT}


async def test_odd_values_are_the_callers_fault(api, made):
    version, _, _ = made
    d = dataset_service_pb2
    requests = [
        (api.datasets.ListAssets, d.ListAssetsRequest(dataset_id=version.dataset_id, page_size=-1)),
        (api.datasets.ListAssets, d.ListAssetsRequest(dataset_id=version.dataset_id, group=-1)),
        (api.datasets.ListAssets, d.ListAssetsRequest(dataset_id=version.dataset_id, split=9)),
        (api.datasets.ListAssets, d.ListAssetsRequest(dataset_id=version.dataset_id, label_state=9)),
        (api.datasets.ListAssets, d.ListAssetsRequest(dataset_id=version.dataset_id, class_name="\0")),
        (api.datasets.ListAssets, d.ListAssetsRequest()),
        (api.datasets.ListDatasets, d.ListDatasetsRequest(name="\0")),
        (api.datasets.GetDataset, d.GetDatasetRequest(dataset_id="cells")),
        (api.imports.StartImport, import_service_pb2.StartImportRequest(import_id=new_id(), format=99)),
        (api.staging.PinSplit, staging_service_pb2.PinSplitRequest(split_id=new_id(), job_id="1")),
    ]
    service = api.as_service()
    codes = [
        await code_of(service if "Pin" in type(request).__name__ else api, method, request)
        for method, request in requests
    ]
    assert codes == [grpc.StatusCode.INVALID_ARGUMENT] * len(requests)
