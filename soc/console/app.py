"""The console as an application: the API under /api/v1, the pages beside it, both over the same parts.

A route that declares neither a permission nor that it is public does not start.
"""
from __future__ import annotations

from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from soc.access.roles import Permission
from soc.console import api, pages
from soc.console.callers import permission_of, public
from soc.console.guard import Guard
from soc.console.pages.render import Pages
from soc.console.parts import Parts
from soc.console.problems import answer_errors
from soc.detect.release import MAX_BYTES

__all__ = ["create_console", "declared", "routes_of"]


def create_console(parts: Parts) -> FastAPI:
    """The application over these parts. Raises TypeError for a route that does not say who may ask it."""
    app = FastAPI(
        title=parts.name, version="1", docs_url=None, redoc_url=None, openapi_url=None,
        description="Everything the pages do. Times are ISO 8601 UTC; errors are RFC 9457 problem documents.",
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.parts = parts
    app.state.pages = Pages(parts)
    for router in (*api.routers(), *pages.routers()):
        app.router.routes.extend(router.routes)
    for route in routes_of(app):
        declared(route)
    answer_errors(app, app.state.pages.error)
    larger = {"/api/v1/rulepacks": MAX_BYTES, "/api/v1/imports": parts.uploads.most}
    app.add_middleware(Guard, show=app.state.pages.error, secure=parts.secure, larger=larger)
    return app


def routes_of(app: FastAPI) -> list[APIRoute]:
    """Every route there is. Raises TypeError for one of another kind."""
    found: list[APIRoute] = []
    for route in app.routes:
        if not isinstance(route, APIRoute):
            raise TypeError(f"{route!r} is no route that declares a permission")
        found.append(route)
    return found


def declared(route: APIRoute) -> Permission | None:
    """The permission that a route needs, None if it is public. Raises TypeError if it says neither or both."""
    said = [call for call in _calls(route.dependant) if call is public or permission_of(call) is not None]
    if len(said) != 1:
        raise TypeError(f"{route.path} has to declare one permission, or that it is public")
    return permission_of(said[0])


def _calls(dependant: Dependant) -> Iterator[object]:
    for below in dependant.dependencies:
        if below.call is not None:
            yield below.call
        yield from _calls(below)


