"""Log lines: inert for terminals, readable for collectors."""
from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from soc.logs import start_logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    names = ("soc", "alerts", "collectors", "__main__", "apscheduler", "uvicorn.error")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:  # a gateway started by an earlier test has quietened uvicorn, the check of imports has disabled what there was
        logging.getLogger(name).setLevel(logging.NOTSET)
        logging.getLogger(name).disabled = False
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.parametrize(("level", "heard"), [
    ("debug", {"apscheduler", "uvicorn.error", "soc", "alerts.store", "__main__"}), ("info", {"soc", "alerts.store", "__main__"}), ("error", set())])
def test_libraries_are_heard_from_warnings_up(level: str, heard: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(level, "json", "detector")
    for name in ("apscheduler", "uvicorn.error", "soc", "alerts.store", "__main__"):
        logging.getLogger(name).info("job %s ran", name)
    logging.getLogger("apscheduler").error("a job failed")
    said = [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
    assert said == [*(f"job {name} ran" for name in ("apscheduler", "uvicorn.error", "soc", "alerts.store", "__main__") if name in heard), "a job failed"]


def test_json_lines_carry_level_role_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("info", "json", "gateway")
    logging.getLogger("soc").warning("batch refused", extra={"source": "fw", "bytes": 12})
    logging.getLogger("soc").debug("left out")
    [line] = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert (said["message"], said["log.level"], said["service.name"], said["source"], said["bytes"]) == (
        "batch refused", "warning", "soc-gateway", "fw", 12)


def test_text_lines_are_inert(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("debug", "text", "gateway")
    logging.getLogger("soc").info("peer said %s", "a\x1b[31m\nb\u202e")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert "\u202e" not in said
