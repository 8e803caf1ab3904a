"""Puts the marked regions of the journey's programs into the pages below docs/clients/ (`python
tests/clients/snippets.py`).

A region lies between the comments `[name]` and `[/name]`. In a page, `<!-- FILE: name -->` stands before the block that
quotes it.
"""

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = ROOT / "docs" / "clients"
_BLOCK = re.compile(
    r"^(<!-- (?P<file>\S+): (?P<region>[\w-]+) -->\n```(?P<language>\w+)\n)(?P<code>.*?)(^```$)",
    re.MULTILINE | re.DOTALL,
)


def region(file: Path, name: str) -> str:
    """The lines of a region, without their common indentation. Raises LookupError when the file marks none of this
    name.
    """
    found = re.search(
        rf"^\s*(?://|#) \[{name}\]\n(.*?)^\s*(?://|#) \[/{name}\]$", file.read_text(), re.MULTILINE | re.DOTALL
    )
    if found is None:
        raise LookupError(f"{file} marks no region {name}")
    return textwrap.dedent(found[1].replace("\t", "    ")).strip("\n") + "\n"


def regions(file: Path) -> list[str]:
    """The names of a file's regions, in order."""
    return re.findall(r"^\s*(?://|#) \[([a-z][\w-]*)\]$", file.read_text(), re.MULTILINE)


def quoted(page: str) -> list[tuple[str, str]]:
    """File and region of each quotation of a page."""
    return [(found["file"], found["region"]) for found in _BLOCK.finditer(page)]


def with_snippets(page: str) -> str:
    """The page with each quotation as its source has it now."""
    return _BLOCK.sub(lambda found: found[1] + region(ROOT / found["file"], found["region"]) + found[6], page)


if __name__ == "__main__":
    for path in sorted(PAGES.glob("*.md")):
        path.write_text(with_snippets(path.read_text()))
