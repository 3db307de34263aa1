"""What requests have in common: strict models, and a span of time."""
from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from soc.errors import QueryError
from soc.event import to_micros
from soc.store.eventstore import TimeRange

__all__ = ["JSON", "Limit", "Span", "Strict", "Text", "within"]

Text = Annotated[str, Field(max_length=1000)]
"""A value somebody types in."""

Limit = Annotated[int, Field(ge=1, le=1000, description="Most rows.")]


class Strict(BaseModel):
    """A request that may hold only what is declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Span(Strict):
    """Times in [since, until), ISO 8601 with a zone; open where not given."""

    since: AwareDatetime | None = Field(default=None, description="From this moment on, ISO 8601 with a zone.")
    until: AwareDatetime | None = Field(default=None, description="Before this moment.")


def within(span: Span) -> TimeRange:
    """The span in microseconds UTC. Raises QueryError if it ends before it starts."""
    since = to_micros(span.since) if span.since else None
    until = to_micros(span.until) if span.until else None
    if since is not None and until is not None and until < since:
        raise QueryError("`until` lies before `since`", remedy="exchange the two")
    return TimeRange(since, until)


class JSON(Response):
    """An answer that is JSON already in all but spelling."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """The body."""
        return orjson.dumps(content, default=_plain)


def _plain(value: object) -> object:
    return sorted(value, key=str) if isinstance(value, set | frozenset) else str(value)
