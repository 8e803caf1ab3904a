"""What the README shows works as it stands there."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from main_job import Command, Story, import_by_curl
from markdown_it import MarkdownIt
from splitrail_local.shapes import generate
from splitrail_local.testing import RunningStack

pytestmark = [pytest.mark.story, pytest.mark.integration]
README = (Path(__file__).resolve().parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced code blocks of a language, in order; "" for those without one."""
    return [token.content for token in MarkdownIt().parse(README) if token.type == "fence" and token.info == language]


def test_the_python_lines(story: Story, command: Command, tmp_path: Path):
    """As written, but on a generated folder and for one epoch."""
    generate(tmp_path / "readme", images=40, size=64, seed=4)
    (code,) = blocks("python")
    assert len(code.splitlines()) <= 10
    code = code.replace("path/to/cells", str(tmp_path / "readme")).replace(
        "epochs=20, imgsz=256", "epochs=1, imgsz=64, batch=8"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=command.environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 0 <= float(done.stdout.split()[-1]) <= 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here (Debian: apt install curl)")
def test_the_curl_lines(story: Story, stack: RunningStack):
    lines = [line for block in blocks("") for line in block.splitlines() if line.startswith("curl ")]
    assert len(lines) == 5
    known = {"http://127.0.0.1:8080": stack.gateway_url, "$TOKEN": stack.admin_token}
    known |= {
        "$RUN_ID": story.run["runId"],
        "$DATASET_ID": story.run["datasetId"],
        "$VERSION_ID": story.run["versionId"],
    }
    for line in lines:
        filled = line
        for name, value in known.items():
            filled = filled.replace(name, value)
        shell = ["bash", "-c", filled.replace("curl", "curl -sSf", 1)]
        done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=True)
        messages = [json.loads(part.removeprefix("data: ")) for part in done.stdout.splitlines() if part.strip()]
        assert messages


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here (Debian: apt install curl)")
def test_the_import_over_curl(stack: RunningStack, tmp_path: Path):
    (lines,) = blocks("sh")
    ended = import_by_curl(
        lines.replace("http://127.0.0.1:8080", stack.gateway_url), {"TOKEN": stack.admin_token}, tmp_path, "curled"
    )
    assert (ended["state"], ended["imageCount"]) == ("IMPORT_STATE_SUCCEEDED", 12)


def test_every_make_target_named_exists():
    makefile = (Path(__file__).resolve().parent.parent / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z][a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"the README names `make {target}`"
