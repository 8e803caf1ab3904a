"""Projects as protos, and requests about them as values."""

from splitrail.split.v1 import project_pb2, project_service_pb2
from splitrail_common.repeats import RequestKey

from splitrail_split.contents.convert import timestamp
from splitrail_split.projects.domain import NewProject, Project
from splitrail_split.requests.fields import labels


def project(found: Project) -> project_pb2.Project:
    """A project."""
    return project_pb2.Project(
        project_id=found.project_id,
        external_id=found.external_id,
        labels=found.labels,
        create_time=timestamp(found.create_time),
        archive_time=timestamp(found.archive_time),
    )


def new_project(request: project_service_pb2.CreateProjectRequest, creator: str) -> NewProject:
    """A project to make. Raises INVALID_ARGUMENT for labels."""
    return NewProject(request.project_id, request.external_id, labels(request.labels), creator, RequestKey.of(request))
