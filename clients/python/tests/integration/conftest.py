"""A real gateway before real services, one for each file of tests; no pod, so that jobs stay queued."""

from collections.abc import Iterator

import pytest
import splitrail_client
from click.testing import CliRunner
from splitrail_client.cli import cli
from splitrail_local.stack import PARTS
from splitrail_local.testing import RunningStack, running_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory, only=[part for part in PARTS if part != "pod"]) as running:
        yield running


@pytest.fixture(scope="module")
def client(stack) -> Iterator[splitrail_client.Client]:
    with splitrail_client.connect(stack.gateway_url, stack.admin_token) as made:
        yield made


@pytest.fixture
def invoke(stack):
    """Runs the command against the stack, without a terminal."""
    environment = {"SPLITRAIL_URL": stack.gateway_url, "SPLITRAIL_TOKEN": stack.admin_token}
    return lambda *arguments, **options: CliRunner().invoke(cli, arguments, env=environment, **options)
