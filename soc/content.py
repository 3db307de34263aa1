"""Finds what ships beside the code (config.yaml, our own rules): in a wheel under soc/content/, else in the repository."""
from __future__ import annotations

from pathlib import Path

from soc.errors import NotFoundError

__all__ = ["content"]


def content(name: str) -> Path:
    """The shipped file or folder `name`. Raises NotFoundError if this build lacks it."""
    here = Path(__file__).resolve().parent
    for folder in (here / "content", here.parent):
        if (folder / name).exists():
            return folder / name
    raise NotFoundError(f"this build does not ship {name}", remedy="install it again")
