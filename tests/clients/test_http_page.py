"""The lines of docs/clients/http.md that are no part of the journey work as they stand there."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from splitrail_local.shapes import generate
from splitrail_local.testing import RunningStack

from .programs import require
from .snippets import PAGES

pytestmark = [pytest.mark.clients, pytest.mark.integration]


def test_an_archive_is_imported_by_five_lines(stack: RunningStack, tmp_path: Path):
    require("curl", ["bash", "curl"])
    (block,) = [token.content for token in MarkdownIt().parse((PAGES / "http.md").read_text()) if token.type == "fence" and token.info == "sh"]
    generate(tmp_path / "cells", images=12, size=32, seed=9)
    shutil.make_archive(str(tmp_path / "cells"), "zip", tmp_path, "cells")
    variables = {"SPLITRAIL_URL": stack.gateway_url, "SPLITRAIL_TOKEN": stack.user_token({"default": "editor"}), "PATH": "/usr/bin:/bin"}
    answers: list[list[dict[str, Any]]] = []
    for line in block.splitlines():
        shell = ["bash", "-c", line.replace("curl", "curl -sS --fail-with-body", 1)]
        done = subprocess.run(shell, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        answers.append([json.loads(message) for message in done.stdout.splitlines()])
        if len(answers) == 1:
            variables["IMPORT_ID"] = answers[0][0]["datasetImport"]["importId"]
        elif len(answers) == 2:
            variables["UPLOAD_URL"] = answers[1][0]["uploads"][0]["url"]
    ended = answers[-1][-1]["datasetImport"]
    assert (ended["state"], ended["imageCount"]) == ("IMPORT_STATE_SUCCEEDED", 12)
