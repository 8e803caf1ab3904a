"""docs/clients.md names tests that exist; the pages quote the journey's programs as they are."""

import re

import pytest

from .programs import PROGRAMS
from .snippets import PAGES, ROOT, quoted, regions, with_snippets

NAMES = {"python": "python", "go": "go", "typescript": "typescript", "java": "java", "http": "curl"}
"""Page -> language of the program that it quotes."""


def test_each_promise_names_tests_that_exist():
    promises = (ROOT / "docs" / "clients.md").read_text()
    named = re.findall(r"`([\w/.-]+\.(?:py|ts|go|java))::([^`]+)`", promises)
    assert len(named) >= 40
    for path, wrapped in named:
        name, source = " ".join(wrapped.split()), (ROOT / path).read_text()
        pattern = rf"^\s*(async )?def {name}\(" if path.endswith(".py") else rf"\b{re.escape(name)}\b"
        assert re.search(pattern, source, re.MULTILINE), f"{path} has no {name}"


@pytest.mark.parametrize("page", NAMES)
def test_pages_quote_the_tested_programs(page):
    text = (PAGES / f"{page}.md").read_text()
    assert with_snippets(text) == text, "run `python tests/clients/snippets.py` and commit the result"
    (source,) = [program.source for program in PROGRAMS if program.language == NAMES[page]]
    assert sorted(quoted(text)) == sorted((str(source.relative_to(ROOT)), name) for name in regions(source)), (
        "every region once"
    )
    assert text.count("\n```") == 2 * len(quoted(text)) + 2 * text.count("\n```sh\n"), (
        "every other block is a command line"
    )


def test_pages_link_to_files_that_exist():
    for page in [ROOT / "docs" / "clients.md", *PAGES.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name} links to {target}"
