"""What the journeys share, and their times at the end."""

import os
from dataclasses import dataclass, field

import pytest


@dataclass
class Times:
    """Seconds by language and step."""

    rows: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, language: str, step: str, seconds: float) -> None:
        self.rows.setdefault(language, {})[step] = seconds


TIMES = Times()
EMPTY_CACHES = bool(os.environ.get("CLIENTS_EMPTY_CACHES"))
"""Builds with empty caches: everything is downloaded and compiled."""


@pytest.fixture(scope="session")
def times() -> Times:
    return TIMES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not TIMES.rows:
        return
    first = "cold" if EMPTY_CACHES else "first"
    terminalreporter.section("clients, seconds")
    terminalreporter.line(f"{'language':<12}{first + ' build':>12}{'warm build':>12}{'journey':>12}")
    for language, row in TIMES.rows.items():
        cells = (f"{row[step]:.1f}" if step in row else "-" for step in ("first", "warm", "journey"))
        terminalreporter.line(f"{language:<12}" + "".join(f"{cell:>12}" for cell in cells))
