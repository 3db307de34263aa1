"""The body of an Elasticsearch `_bulk` request: lines of actions, each with its document. Pure: bytes in, items out.

`index` and `create` are taken; a document is one record, its bytes as they came. Source: Elasticsearch 8 reference, Bulk API.
"""
from __future__ import annotations

from dataclasses import dataclass

import orjson

from soc.errors import InputRefused

__all__ = ["Item", "read_bulk"]

TAKEN = ("create", "index")
_OTHERS = ("delete", "update")
_WITHOUT_DOCUMENT = ("delete",)


@dataclass(slots=True)
class Item:
    """One action. `record` is what is kept of it; where it is None, `fault` says why (type, reason)."""

    action: str
    index: str
    id: str
    record: bytes | None = None
    fault: tuple[str, str] = ("", "")


def read_bulk(body: bytes, index: str = "") -> list[Item]:
    """The items of a body, in order; `index` is the one in the address. Raises InputRefused where no action can be read.

    What follows an unreadable action line cannot be told apart any more, so then nothing of the body is taken.
    """
    lines = body.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    items: list[Item] = []
    known: dict[bytes, tuple[str, str, str]] = {}
    at = 0
    while at < len(lines):
        line = lines[at].rstrip(b"\r")
        at += 1
        if not line.strip():
            continue
        said = known.get(line)
        if said is None:
            said = known[line] = _action(line, at, index)
        item = Item(*said)
        items.append(item)
        if item.action in _WITHOUT_DOCUMENT:
            item.fault = ("illegal_argument_exception", "only index and create are taken here, not delete")
            continue
        document = lines[at].rstrip(b"\r") if at < len(lines) else b""
        at += 1
        if item.action in _OTHERS:
            item.fault = ("illegal_argument_exception", f"only index and create are taken here, not {item.action}")
        elif not item.index:
            item.fault = ("illegal_argument_exception", "no index: name it in the address or as _index")
        elif not document.startswith(b"{"):
            item.fault = ("document_parsing_exception", "the document is no JSON object on one line")
        else:
            item.record = document
    return items


def _action(line: bytes, number: int, index: str) -> tuple[str, str, str]:
    """(action, index, id) of an action line."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or len(found) != 1:
        raise InputRefused(f"Malformed action/metadata line [{number}]: one object with one of index, create expected")
    [(action, meta)] = found.items()
    if action not in (*TAKEN, *_OTHERS) or not isinstance(meta, dict):
        raise InputRefused(f"Malformed action/metadata line [{number}]: {action[:40]!r} is no action")
    return action, str(meta.get("_index") or index)[:255], str(meta.get("_id") or "")[:512]
