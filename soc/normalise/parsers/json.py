"""JSON records of no other dataset: ECS fields pass through with their types, everything else is kept as text."""
from __future__ import annotations

from typing import Any, Final

from soc.ecs import TYPES
from soc.event import Event, FrameContext
from soc.normalise.jsontext import add, flat, load, typed
from soc.normalise.logsources import log_sources
from soc.normalise.times import flexible

FAMILY: Final = "generic"
PRIORITY: Final = 80

_GUARDED: Final = frozenset(("soc.", "orga", "even"))
"""How the names start that `_put` must look at."""
_TIMES: Final = ("@timestamp", "timestamp", "time", "ts")
_DATES: Final = ("event.created", "event.ingested", "event.start", "event.end")


def accepts(raw: bytes) -> bool:
    """Anything that starts like a JSON object: if it is none after all, that is a fault worth a dead letter."""
    return raw[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"


def parse(raw: bytes, context: FrameContext) -> Event:
    """The event of one JSON object. Raises ParseError json_*, too_many_fields, name_too_long."""
    document = load(raw)
    event: Event = {}
    for key in _TIMES:
        found = flexible(document.get(key), context.timezone)
        if found is not None:
            event["@timestamp"] = found[0]
            if not found[1]:
                event["soc.time_inferred"] = "zone"
            break
    for name, leaf in flat(document):
        if leaf.__class__ is str and name not in event and name not in TYPES and name[:4] not in _GUARDED:
            event[name] = leaf
        else:
            _put(event, name, leaf, context)
    dataset = event.get("event.dataset")
    if not isinstance(dataset, str):
        if dataset is not None:
            event["unmapped.event.dataset"] = event.pop("event.dataset")
        dataset = ""
    event["soc.log_sources"] = log_sources().dataset(dataset)
    return event


def _put(event: Event, name: str, leaf: Any, context: FrameContext) -> None:
    if leaf is None:
        add(event, "soc.null_fields", [name])
    elif name == "@timestamp":
        if "@timestamp" not in event or flexible(leaf, context.timezone) is None:
            typed(event, "unmapped.@timestamp", leaf)
    elif name.startswith("soc.") or name in ("organization.id", "event.original"):
        typed(event, f"unmapped.{name}", leaf)
    elif name in _DATES:
        found = flexible(leaf, context.timezone)
        if found is None:
            typed(event, f"unmapped.{name}", leaf)
        else:
            event[name] = found[0]
    else:
        typed(event, name, leaf)
