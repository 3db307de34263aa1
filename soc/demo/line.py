"""One raw record of the demonstration, and where it is said to come from."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["AGENCIES", "FORMATS", "HOUR", "SECOND", "SOURCES", "Line"]

SECOND: Final = 1_000_000
HOUR: Final = 3_600 * SECOND
AGENCIES: Final = {
    "demo-xa-thanh-son": ("UBND xã Thanh Sơn (trình diễn)", "Thanh Son commune (demonstration)"),
    "demo-so-van-hoa": ("Sở Văn hóa (trình diễn)", "Department of Culture (demonstration)"),
}
"""The invented agencies: id -> Vietnamese and English name."""
SOURCES: Final = {
    "demo-portal": "demo-xa-thanh-son", "demo-linux": "demo-xa-thanh-son", "demo-audit": "demo-xa-thanh-son", "demo-windows": "demo-so-van-hoa",
}
"""The invented sources and whose they are."""
FORMATS: Final = {"demo-portal": "nginx", "demo-linux": "syslog", "demo-audit": "auditd", "demo-windows": "windows"}
"""The parser of each."""


@dataclass(frozen=True, slots=True)
class Line:
    """`at` is microseconds since 1970 UTC. `attack` names the planted attack it belongs to, `twin` the one it only resembles.

    `broken`: it cannot be read and becomes a dead letter.
    """

    at: int
    source: str
    raw: bytes
    attack: str = ""
    twin: str = ""
    broken: bool = False
