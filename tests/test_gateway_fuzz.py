"""Thirty seconds of requests that schemathesis makes from proto/openapi.json: nothing breaks, and every answer is as
the document says.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from splitrail_local.stack import SERVERS
from splitrail_local.state import SERVICES
from splitrail_local.testing import RunningStack, running_stack, until

pytestmark = pytest.mark.integration
DOCUMENT = Path(__file__).resolve().parent.parent / "proto" / "openapi.json"
SECONDS = 30
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack of its own, which the requests may fill with whatever they make."""
    with running_stack(tmp_path_factory, only={*SERVERS, *SERVICES, "envoy"}) as stack:
        until(lambda: httpx.get(f"{stack.gateway_url}/healthz").status_code == 200, "the gateway reaches every service")
        yield stack


def test_answers_are_as_the_document_says(fuzzed: RunningStack, tmp_path: Path):
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run", str(DOCUMENT)),
            *("--url", fuzzed.gateway_url, "--header", f"authorization: Bearer {fuzzed.admin_token}"),
            *(
                "--checks",
                ",".join(CHECKS),
                "--phases",
                "coverage,fuzzing",
                "--max-time",
                str(SECONDS),
                "--request-timeout",
                "20",
            ),
            *("--exclude-path-regex", "/watch$"),  # the watch of an import that nobody starts has no end
            *("--no-color", "--warnings", "off", "--generation-database", "none"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS + 90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Test cases:" in done.stdout
    print(done.stdout[-1500:])
