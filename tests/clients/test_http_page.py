"""The lines of docs/clients/http.md that are no part of the journey work as they stand there."""

from pathlib import Path

import pytest
from main_job import import_by_curl
from markdown_it import MarkdownIt
from splitrail_local.testing import RunningStack

from .programs import require
from .snippets import PAGES

pytestmark = [pytest.mark.clients, pytest.mark.integration]


def test_an_archive_is_imported_by_five_lines(stack: RunningStack, tmp_path: Path):
    require("curl", ["bash", "curl"])
    (block,) = [
        token.content
        for token in MarkdownIt().parse((PAGES / "http.md").read_text())
        if token.type == "fence" and token.info == "sh"
    ]
    variables = {"SPLITRAIL_URL": stack.gateway_url, "SPLITRAIL_TOKEN": stack.user_token({"default": "editor"})}
    ended = import_by_curl(block, variables, tmp_path)
    assert (ended["state"], ended["imageCount"]) == ("IMPORT_STATE_SUCCEEDED", 12)
