"""What every test may ask for: the shared sample data, and a fresh data folder."""
from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("same")  # the same examples on every run; `make fuzz` looks for new ones

REPOSITORY = Path(__file__).resolve().parent.parent
WITHOUT_DATA = "shared sample data is not here (set SOC_TEST_DATA)"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of shared samples: SOC_TEST_DATA, else ../shared/data beside the repository."""
    folder = Path(os.environ.get("SOC_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(WITHOUT_DATA)
    return folder


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own SOC_* settings change no test."""
    for name in list(os.environ):
        if name.startswith("SOC_") and not name.startswith("SOC_TEST_"):
            monkeypatch.delenv(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped for want of the shared data."""
    skipped = [
        report for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and WITHOUT_DATA in str(report.longrepr[2])
    ]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests skipped: {WITHOUT_DATA}", yellow=True)
