"""What the protos declare about requests holds for every field of every RPC of this service."""

import pytest
from splitrail.internal.metrics.v1 import watermark_service_pb2
from splitrail.metrics.v1 import metrics_service_pb2
from splitrail_local.bad_requests import bad_pages, beyond_limits, refusal

pytestmark = pytest.mark.integration
PUBLIC = metrics_service_pb2.DESCRIPTOR.services_by_name["MetricsService"]
INTERNAL = watermark_service_pb2.DESCRIPTOR.services_by_name["WatermarkService"]


async def test_requests_beyond_their_limits_are_refused_by_field(platform):
    probes = [*beyond_limits(PUBLIC), *bad_pages(PUBLIC)]
    assert len(probes) > 30
    answers = {str(bad): await refusal(platform.channel, bad, platform.admin) for bad in probes}
    assert answers == {str(bad): bad.field for bad in probes}
    service = (("authorization", f"Bearer {platform.trainer_signer.service_token()}"),)
    probes = beyond_limits(INTERNAL)
    answers = {str(bad): await refusal(platform.channel, bad, service) for bad in probes}
    assert answers == {str(bad): bad.field for bad in probes}
