"""JSON records -> Python objects -> flat events: bounded, lossless, and never an exception but ParseError.

Invalid UTF-8 and lone surrogates become visible escapes (``\\xff``, ``\\ud800``) in the values.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from soc.ecs import TYPES, coerce
from soc.errors import ParseError
from soc.event import Event, Value
from soc.normalise.addresses import address

__all__ = ["MAX_FIELDS", "MAX_NAME", "add", "clean_name", "flat", "load", "scalar", "typed"]

MAX_FIELDS: Final = 10_000
MAX_NAME: Final = 512
"""Bytes of a field's whole dotted name."""
MAX_PARSED: Final = 16 * 1024 * 1024
"""Longer records are never given to the JSON parser."""

_BAD_BYTE: Final = re.compile("[\udc80-\udcff]")
_ESCAPES: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def load(raw: bytes) -> dict[str, Any]:
    """The object a record holds. Raises ParseError json_depth, json_invalid, json_not_object, record_too_large."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        value = _load_again(raw, error)
    if value.__class__ is not dict:
        raise ParseError("json_not_object", type(value).__name__)
    return value


def _load_again(raw: bytes, error: orjson.JSONDecodeError) -> Any:
    if len(raw) > MAX_PARSED:
        raise ParseError("record_too_large", f"{len(raw)} bytes") from None
    body = raw.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n\0")
    text = _BAD_BYTE.sub(lambda m: f"\\\\x{ord(m[0]) - 0xDC00:02x}", body.decode("utf-8", "surrogateescape"))
    if "\\ud" in text or "\\uD" in text:
        text = _ESCAPES.sub(lambda m: m[0] if m[1] is None else "\\\\u" + m[1].lower(), text)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as again:
        said = str(again)
        raise ParseError("json_depth" if "depth limit" in said else "json_invalid", said[:200]) from None


def scalar(value: object) -> str:
    """A JSON scalar as lossless text: booleans in lower case, numbers as they print, containers as JSON."""
    if value.__class__ is str:
        return value
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return ""
    if isinstance(value, dict | list):
        try:
            return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
        except (orjson.JSONEncodeError, RecursionError):
            raise ParseError("json_depth", "nested too deep to keep as text") from None
    return str(value)


class _Names(dict[str, str]):
    """Name -> clean name, worked out once; bounded, since names come from outside."""

    def __missing__(self, name: str) -> str:
        clean = _clean(name)
        if len(self) < 20_000:
            self[name] = clean
        return clean


_NAMES: Final = _Names()


def clean_name(name: str) -> str:
    """A field name safe as a column's: control characters escaped, no clash with the columns' own marks.

    Raises ParseError name_too_long.
    """
    return _NAMES[name]


def _clean(name: str) -> str:
    if len(name) > MAX_NAME or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
        raise ParseError("name_too_long", f"{len(name)} characters")
    if _UNSAFE.search(name):
        name = _UNSAFE.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{ord(m[0]):04x}", name)
    if name.endswith("[]"):
        name = name[:-2] + "[_]"
    return f"unmapped.{name or 'empty'}" if name in ("", "kv") else name


def add(event: Event, name: str, value: Value) -> None:
    """Put a value under a name; where the name is taken both are kept, as a list of text."""
    known = event.get(name)
    if known is None:
        event[name] = value
        return
    both = [*known] if isinstance(known, list) else [scalar(known)]
    both.extend(value if isinstance(value, list) else [scalar(value)])
    event[name] = both


def flat(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(clean dotted name, value) of every leaf: scalars, None, and lists as they are.

    Raises ParseError too_many_fields, name_too_long.
    """
    count = 0
    stack: list[tuple[str, Iterator[tuple[str, Any]]]] = [(prefix, iter(document.items()))]
    while stack:
        path, items = stack[-1]
        for key, value in items:
            name = path + key
            if value.__class__ is dict:
                if len(name) > MAX_NAME:
                    raise ParseError("name_too_long", f"{len(name)} characters")
                stack.append((name + ".", iter(value.items())))
                break
            count += 1
            if count > MAX_FIELDS:
                raise ParseError("too_many_fields", f"more than {MAX_FIELDS}")
            yield _NAMES[name], value
        else:
            stack.pop()


def listed(values: list[Any]) -> list[str]:
    """A JSON array as a list of text: nulls left out, objects and arrays as JSON."""
    return [scalar(value) for value in values if value is not None]


def typed(event: Event, name: str, value: Any) -> None:
    """Put a JSON leaf into the event: ECS fields get their type, what has another shape goes to ``unmapped.``.

    A list without a value is named as a null is: the field was there.
    """
    if value.__class__ is list:
        texts = listed(value)
        if name in TYPES and len(value) == 1:
            value = value[0]
        elif texts:
            add(event, name if TYPES.get(name) != "date" else f"unmapped.{name}", texts)
            return
        else:
            add(event, "soc.null_fields", [name])
            return
    kind = TYPES.get(name)
    if kind is None:
        if value.__class__ is str and name not in event:
            event[name] = value
        else:
            add(event, name, scalar(value))
    elif name in event:
        add(event, f"unmapped.{name}", scalar(value))
    elif kind == "ip" and value.__class__ is str and (found := address(value)):
        event[name] = found
    else:
        try:
            event[name] = coerce(name, value)
        except (ValueError, TypeError, OverflowError):
            add(event, f"unmapped.{name}", scalar(value))
