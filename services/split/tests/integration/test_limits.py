"""What the protos declare of requests, refused field by field in every RPC."""

import pytest
from splitrail.internal.split.v1 import staging_service_pb2
from splitrail.split.v1 import (
    dataset_service_pb2,
    export_service_pb2,
    import_service_pb2,
    project_service_pb2,
    split_service_pb2,
    version_service_pb2,
)
from splitrail_local.bad_requests import bad_pages, beyond_limits, refusal

pytestmark = pytest.mark.integration
PUBLIC = [
    dataset_service_pb2.DESCRIPTOR.services_by_name["DatasetService"],
    export_service_pb2.DESCRIPTOR.services_by_name["ExportService"],
    import_service_pb2.DESCRIPTOR.services_by_name["ImportService"],
    project_service_pb2.DESCRIPTOR.services_by_name["ProjectService"],
    split_service_pb2.DESCRIPTOR.services_by_name["SplitService"],
    version_service_pb2.DESCRIPTOR.services_by_name["VersionService"],
]
STAGING = staging_service_pb2.DESCRIPTOR.services_by_name["StagingService"]


async def test_every_field_beyond_its_limits_is_named(api):
    bad = beyond_limits(*PUBLIC) + bad_pages(*PUBLIC)
    found = {str(one): await refusal(api.channel, one, api.metadata) for one in bad}
    assert found == {str(one): one.field for one in bad}


async def test_fields_of_the_internal_service_too(api):
    service, attempt = api.as_service(), api.as_attempt("x", "train")
    for one in beyond_limits(STAGING):
        caller = service if one.method.name == "PinSplit" else attempt
        assert await refusal(api.channel, one, caller.metadata) == one.field, str(one)
