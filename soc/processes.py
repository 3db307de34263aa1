"""The processes of a centre: one per role, but for detectors, of which there may be several; what each is started with and who watches it."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from soc.config import Config
from soc.detect.watch import Guard

__all__ = ["DEMONSTRATION", "ROLES", "arguments", "detectors", "guards", "processes"]

ROLES = ("gateway", "normaliser", "detector", "console")
DEMONSTRATION = "demonstration"
"""Beside the roles, with `soc serve --demo` only: nothing depends on it, and health does not ask for it."""


def detectors(config: Config) -> tuple[str, ...]:
    """The names of the detectors' processes: `detector`, `detector-2`, …"""
    return ("detector", *(f"detector-{number}" for number in range(2, config.detector.processes + 1)))


def processes(roles: Sequence[str], config: Config) -> list[str]:
    """The names of the processes that play these roles."""
    return [name for role in roles for name in (detectors(config) if role == "detector" else (role,))]


def guards(data: Path, config: Config) -> dict[str, Guard]:
    """Who watches which process."""
    return {name: Guard(data / "run", name) for name in detectors(config)}


def arguments(data: Path, config_file: Path | None, *, local: bool) -> list[str]:
    """What every process is started with."""
    return ["--data", str(data), *(["--config", str(config_file)] if config_file else []), *(["--local"] if local else [])]
