"""The API: one router per noun, each found by being here."""
from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from fastapi import APIRouter

__all__ = ["routers"]


def routers() -> Sequence[APIRouter]:
    """The router of every module in this package."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}").router for name in names]
