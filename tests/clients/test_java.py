"""The Java project: generated and compiled by Maven alone, its own tests, and the same classes by buf."""

import os
import re
import sys
from pathlib import Path

import pytest

from .programs import JAVA, require, run

pytestmark = pytest.mark.clients
SCRIPTS = Path(sys.executable).parent


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """Maven generates, compiles, and runs the tests against servers that cut connections."""
    require("java", ["java", "mvn"])
    run(["mvn", "-q", "-B", "package"], JAVA)


def test_the_project_has_tests_that_ran():
    reports = [path.read_text() for path in (JAVA / "target" / "surefire-reports").glob("*.txt")]
    counts = [
        tuple(map(int, found))
        for report in reports
        for found in re.findall(r"Tests run: (\d+), Failures: (\d+), Errors: (\d+), Skipped: (\d+)", report)
    ]
    assert sum(count[0] for count in counts) >= 30
    assert not [count for count in counts if any(count[1:])]


def test_buf_generates_the_same_classes(tmp_path: Path):
    plugin = next((JAVA / "target" / "protoc-plugins").glob("protoc-gen-grpc-java-*.exe"))
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "protoc-gen-grpc-java").symlink_to(plugin)
    path = os.pathsep.join([str(tools), str(SCRIPTS), os.environ["PATH"]])
    run(
        ["buf", "generate", "--template", "../../proto/buf.gen.java.yaml", "--output", str(tmp_path)],
        JAVA,
        {"PATH": path},
    )
    # The texts differ in comments: buf tells the plugins each field's JSON name.
    by_buf, by_maven = (
        sources(tmp_path / "build" / "generated"),
        [
            name
            for kind in ("java", "grpc-java")
            for name in sources(JAVA / "target" / "generated-sources" / "protobuf" / kind)
        ],
    )
    assert len(by_buf) > 100
    assert by_buf == sorted(by_maven)


def sources(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.java"))
