"""Work in a process of its own: its result, its errors, and that Ctrl-C makes no noise."""
from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from soc.errors import StoreError
from soc.supervisor import apart

_WORKING = """
import signal, sys, time
from soc.supervisor import apart

def work():
    print("ready", flush=True)
    time.sleep({seconds})
    return "done"

if {handled}:
    signal.signal(signal.SIGINT, lambda *_: None)
try:
    print(apart(work), flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


def interrupted(seconds: float, handled: bool) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a program whose work apart is met by Ctrl-C, as a terminal sends it: to both."""
    process = subprocess.Popen([sys.executable, "-c", _WORKING.format(seconds=seconds, handled=handled)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


def test_ctrl_c_ends_the_work_without_noise() -> None:
    assert interrupted(60, handled=False) == (130, "", "")


def test_a_caller_that_handles_ctrl_c_itself_gets_the_result() -> None:
    assert interrupted(0.5, handled=True) == (0, "done\n", "")


def test_results_and_errors_come_back() -> None:
    assert apart(sorted, [2, 1]) == [1, 2]
    with pytest.raises(StoreError, match="no such place"):
        apart(_refuse)


def _refuse() -> None:
    raise StoreError("no such place")
