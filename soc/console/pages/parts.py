"""How a page's route gets at the templates."""
from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from soc.console.pages.render import Pages

__all__ = ["Looks"]


def _pages(request: Request) -> Pages:
    return cast(Pages, request.app.state.pages)


Looks = Annotated[Pages, Depends(_pages)]
"""The renderer."""
