"""The pages: rendered by the server, no script needed; what they do, the API does too."""
from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from fastapi import APIRouter

__all__ = ["routers"]


def routers() -> Sequence[APIRouter]:
    """The router of every module in this package that has one."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [module.router for module in modules if hasattr(module, "router")]
