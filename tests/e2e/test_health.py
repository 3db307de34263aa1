"""Health at a running centre: how far behind each stage is, while that stage stands still and records keep arriving."""
from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("stage", ["normaliser", "detector"])
def test_lag_counts_from_the_oldest_waiting_record(centre: Any, wait_for: Callable[..., Any], stage: str) -> None:
    centre.up()
    token = centre.source("web")
    assert centre.send(token, b'{"message":"before"}\n')[0] == 200
    centre.settled()
    held = wait_for(centre.pids)[stage]
    os.kill(held, signal.SIGSTOP)
    try:
        assert centre.send(token, b'{"message":"oldest"}\n')[0] == 200
        began = time.time()

        def late() -> Any:
            assert centre.send(token, b'{"message":"newer"}\n')[0] == 200  # what arrives later must not make it look younger
            lane = centre.status()["lanes"]["live"]
            behind = lane["stages"][stage]["seconds_behind"]
            assert behind <= time.time() - began + 1
            return lane if behind >= 5 else None

        lane = wait_for(late, 30, 0.5)
        assert lane["seconds_behind"] >= 5
        assert lane["stages"][stage]["waiting"] > 0
        other = ({"normaliser", "detector"} - {stage}).pop()
        assert lane["stages"][other]["seconds_behind"] < 5
    finally:
        os.kill(held, signal.SIGCONT)
    centre.settled()
    assert centre.status()["lanes"]["live"]["seconds_behind"] == 0.0
    assert centre.stop() == 0


def test_large_events_are_judged_within_seconds_of_their_acknowledgement(centre: Any) -> None:
    """A cut ends at 2 MiB of payload, 400 of these: the next one must not wait for more to gather."""
    centre.up()
    token = centre.source("windows", "--format", "json")
    body = b"".join(b'{"message":"large","n":%d,"text":"%s"}\n' % (n, b"abcdefgh " * 550) for n in range(200))
    for _ in range(60):
        assert centre.send(token, body)[0] == 200
    began = time.monotonic()
    assert centre.settled(60) == 12_000
    assert time.monotonic() - began <= 15
    assert centre.stop() == 0
