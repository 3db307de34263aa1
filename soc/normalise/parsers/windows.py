"""Windows event logs, every channel, in three shapes: EVTX rendered as JSON, flat JSON of a shipper, Winlogbeat's ECS.

Event data stays lossless under ``winlog.event_data.*``; ECS fields are copies. All shapes give the same names.
"""
from __future__ import annotations

from typing import Any, Final

from soc.ecs import TYPES
from soc.errors import ParseError
from soc.event import Event, FrameContext
from soc.normalise.addresses import address
from soc.normalise.jsontext import MAX_FIELDS, add, clean_name, flat, listed, load, scalar, typed
from soc.normalise.logsources import log_sources
from soc.normalise.times import flexible, iso, naive
from soc.normalise.windows_fields import COPIES, FLAT_SYSTEM, OUTCOMES, SHIPPER

FAMILY: Final = "windows"
PRIORITY: Final = 10

DATA: Final = "winlog.event_data."
USER_DATA: Final = "winlog.user_data."


def accepts(raw: bytes) -> bool:
    """A JSON object that speaks of an event id or of winlog."""
    return raw[:4].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" and (b'"EventID"' in raw or b'"winlog' in raw)


def parse(raw: bytes, context: FrameContext) -> Event:
    """The event of one record. Raises ParseError format_mismatch for JSON of no Windows shape."""
    document = load(raw)
    event: Event = {}
    if "EventID" in document:
        _flat_shape(event, document, context)
    elif isinstance(document.get("Event"), dict) and isinstance(document["Event"].get("System"), dict):
        _evtx_shape(event, document["Event"])
    elif "winlog" in document or any(name.startswith("winlog.") for name in document):
        _winlogbeat_shape(event, document, context)
    else:
        raise ParseError("format_mismatch", "no EventID, no Event.System, no winlog")
    _enrich(event)
    return event


class _Names(dict[str, str]):
    """Flat key -> our field name, worked out once per key; bounded, since keys come from outside."""

    def __missing__(self, key: str) -> str:
        name = DATA + clean_name(key.replace(" ", ""))
        if len(self) < 20_000:
            self[key] = name
        return name


_FLAT: Final = _Names(FLAT_SYSTEM | {key: f"nxlog.{key.lstrip('@')}" for key in SHIPPER})


def _flat_shape(event: Event, document: dict[str, Any], context: FrameContext) -> None:
    if not ("Channel" in document or "SourceName" in document or "Provider_Name" in document or "Source" in document):
        raise ParseError("format_mismatch", "EventID without Channel or SourceName")
    if len(document) > MAX_FIELDS:
        raise ParseError("too_many_fields", f"{len(document)}")
    at = _flat_time(document, context)
    if at is not None:
        event["@timestamp"] = at[0]
        if not at[1]:
            event["soc.time_inferred"] = "zone"
    names, before = _FLAT, len(event)
    for key, value in document.items():
        kind = value.__class__
        if kind is str:
            event[names[key]] = value
        elif kind is int:
            event[names[key]] = str(value)
        elif kind is list and value:
            event[names[key]] = listed(value)
    if len(event) != before + len(document):
        _flat_slowly(event, document)
    keywords = document.get("Keywords")
    if keywords.__class__ is int:
        event["winlog.keywords"] = f"0x{keywords & 0xFFFFFFFFFFFFFFFF:016x}"
    event.pop("nxlog.timestamp", None)
    if "UserID" in document:
        for key, name in (("AccountName", "winlog.user.name"), ("Domain", "winlog.user.domain")):
            if isinstance(account := document.get(key), str):
                event[name] = account
    if "winlog.provider_name" not in event and isinstance(source := document.get("Source"), str):
        event["winlog.provider_name"] = source


def _flat_slowly(event: Event, document: dict[str, Any]) -> None:
    """The same for a record with nulls, booleans, objects, or two keys of one name: nothing overwrites anything."""
    for name in [name for name in event if name not in ("@timestamp", "soc.time_inferred")]:
        del event[name]
    for key, value in document.items():
        if isinstance(value, dict):
            within = "" if key in ("EventData", "UserData", "System") else f"{key}."
            for part, leaf in flat(value, within):
                _flat_leaf(event, part, leaf)
        else:
            _flat_leaf(event, key, value)


def _flat_leaf(event: Event, key: str, value: Any) -> None:
    name = _FLAT[key]
    if name in event and not name.startswith(DATA):
        if event[name] == value:
            return
        name = DATA + clean_name(key.replace(" ", ""))
    _leaf(event, name, value)


def _leaf(event: Event, name: str, value: Any) -> None:
    """Event data: text, lists of text; an explicit null is named in soc.null_fields."""
    if value is None:
        add(event, "soc.null_fields", [name])
    elif value.__class__ is list:
        texts = listed(value)
        add(event, *((name, texts) if texts else ("soc.null_fields", [name])))
    else:
        add(event, name, scalar(value))


def _flat_time(document: dict[str, Any], context: FrameContext) -> tuple[int, bool] | None:
    """UtcTime, TimeCreated, @timestamp, then EventTime, which is local and has no zone."""
    value = document.get("UtcTime")
    if value.__class__ is str and (found := iso(value)) is not None:
        return found[0], True
    for key in ("TimeCreated", "@timestamp", "EventTime", "SystemTime"):
        value = document.get(key)
        if value.__class__ is str and (found := naive(value, context.timezone)) is not None:
            return found
        if value is not None and (found := flexible(value, context.timezone)) is not None:
            return found
    return None


def _evtx_shape(event: Event, record: dict[str, Any]) -> None:
    system = record["System"]
    for key, name in (
        ("Version", "winlog.version"), ("Level", "winlog.level"), ("Task", "winlog.task"), ("Opcode", "winlog.opcode"),
        ("Keywords", "winlog.keywords"), ("EventRecordID", "winlog.record_id"), ("Channel", "winlog.channel"),
        ("Computer", "winlog.computer_name"), ("EventID", "winlog.event_id"),
    ):
        value = _text(system.get(key))
        if value is not None and value.__class__ is not list:
            event[name] = scalar(value)
    for key, attribute, name in (
        ("Provider", "Name", "winlog.provider_name"), ("Provider", "Guid", "winlog.provider_guid"),
        ("Provider", "EventSourceName", "winlog.event_source_name"), ("EventID", "Qualifiers", "winlog.qualifiers"),
        ("Execution", "ProcessID", "winlog.process.pid"), ("Execution", "ThreadID", "winlog.process.thread.id"),
        ("Security", "UserID", "winlog.user.identifier"), ("Correlation", "ActivityID", "winlog.activity_id"),
        ("Correlation", "RelatedActivityID", "winlog.related_activity_id"),
    ):
        value = _attribute(system, key, attribute)
        if value is not None:
            event[name] = scalar(value)
    created = _attribute(system, "TimeCreated", "SystemTime")
    found = flexible(created, "UTC") if created is not None else None
    if found is not None:
        event["@timestamp"] = found[0]
    for key, value in record.items():
        if key == "EventData":
            _event_data(event, value)
        elif key == "UserData":
            _user_data(event, value)
        elif key == "RenderingInfo" and isinstance(value, dict):
            _rendering(event, value)
        elif key not in ("System", "#attributes") and value is not None:
            _section(event, f"winlog.{clean_name(key)}.", value)


def _attribute(system: dict[str, Any], key: str, attribute: str) -> Any:
    part = system.get(key)
    if not isinstance(part, dict):
        return system.get(f"{key}_attributes", {}).get(attribute) if f"{key}_attributes" in system else None
    attributes = part.get("#attributes")
    return attributes.get(attribute) if isinstance(attributes, dict) else part.get(attribute)


def _text(value: Any) -> Any:
    """The text of an element: itself, or its #text beside attributes."""
    return value.get("#text") if value.__class__ is dict and "#text" in value else value


def _event_data(event: Event, data: Any) -> None:
    if not isinstance(data, dict):
        if data is not None:
            _leaf(event, DATA + "Data", data)
        return
    if len(data) > MAX_FIELDS:
        raise ParseError("too_many_fields", f"{len(data)}")
    for key, value in data.items():
        kind = value.__class__
        name = DATA + clean_name(key.replace(" ", ""))
        if kind is str:
            add(event, name, value)
        elif kind is dict:
            if key == "#attributes":
                for attribute, content in value.items():
                    event[f"winlog.event_data_{clean_name(attribute).lower()}"] = scalar(content)
            elif "#text" in value:
                _text_leaf(event, name, value)
            else:
                _section(event, name + ".", value)
        elif kind is list and name == DATA + "Data":
            _unnamed(event, name, value)
        else:
            _leaf(event, name, value)


def _text_leaf(event: Event, name: str, element: dict[str, Any]) -> None:
    """An element with attributes: its text under its name, a Data element's own Name attribute wins."""
    attributes = element.get("#attributes")
    if isinstance(attributes, dict):
        for attribute, content in attributes.items():
            if attribute == "Name":
                name = DATA + clean_name(scalar(content).replace(" ", ""))
            elif attribute != "xmlns":
                _leaf(event, f"{name}.{clean_name(attribute)}", content)
    _leaf(event, name, element["#text"])


def _unnamed(event: Event, name: str, values: list[Any]) -> None:
    """A list of Data elements: named ones as fields, unnamed ones as a list in their order."""
    plain: list[Any] = []
    for value in values:
        if isinstance(value, dict) and isinstance(value.get("#attributes"), dict) and "Name" in value["#attributes"]:
            _text_leaf(event, name, {"#text": None, **value})
        else:
            plain.append("" if value is None else _text(value))
    if plain:
        _leaf(event, name, plain)


def _user_data(event: Event, data: Any) -> None:
    """UserData under ``winlog.user_data.`` and, since rules name its fields like event data, there too."""
    if not isinstance(data, dict):
        if data is not None:
            _leaf(event, USER_DATA + "Data", data)
        return
    for wrapper, content in data.items():
        if wrapper == "#attributes":
            continue
        if not isinstance(content, dict):
            _leaf(event, USER_DATA + clean_name(wrapper.replace(" ", "")), content)
            _leaf(event, DATA + clean_name(wrapper.replace(" ", "")), content)
            continue
        add(event, USER_DATA + "xml_name", wrapper)
        for name, leaf in flat(content):
            if "#attributes" in name:
                continue
            name = clean_name(name.removesuffix(".#text").replace(" ", ""))
            _leaf(event, USER_DATA + name, leaf)
            if leaf is not None:
                _leaf(event, DATA + name, leaf)


def _rendering(event: Event, rendering: dict[str, Any]) -> None:
    message = _text(rendering.get("Message"))
    if isinstance(message, str):
        event["message"] = message
    for key, value in rendering.items():
        if key not in ("#attributes", "Message"):
            _section(event, f"winlog.rendering.{clean_name(key)}.", value)


def _section(event: Event, prefix: str, value: Any) -> None:
    """Any other part of a record, flattened."""
    if not isinstance(value, dict):
        _leaf(event, prefix[:-1], value)
        return
    for name, leaf in flat(value):
        name = name.replace("#attributes.", "").removesuffix("#text").rstrip(".")
        _leaf(event, clean_name(prefix + name) if name else prefix[:-1], leaf)


def _winlogbeat_shape(event: Event, document: dict[str, Any], context: FrameContext) -> None:
    for name, leaf in flat(document):
        if name.startswith("winlog."):
            if " " in name and name.startswith((DATA, USER_DATA)):
                name = name.replace(" ", "")
            if leaf.__class__ is str and name not in event:
                event[name] = leaf
            else:
                _leaf(event, name, leaf)
            if leaf is not None and name.startswith(USER_DATA) and name != USER_DATA + "xml_name":
                _leaf(event, DATA + name[len(USER_DATA):], leaf)
        elif name == "@timestamp":
            if (found := flexible(leaf, context.timezone)) is not None:
                event["@timestamp"] = found[0]
                if not found[1]:
                    event["soc.time_inferred"] = "zone"
        elif leaf is None:
            add(event, "soc.null_fields", [name])
        elif name.startswith("soc.") or name in ("organization.id", "event.dataset", "event.original"):
            _leaf(event, f"unmapped.{name}", leaf)
        elif TYPES.get(name) == "date":
            if (found := flexible(leaf, context.timezone)) is not None:
                event[name] = found[0]
            else:
                typed(event, f"unmapped.{name}", leaf)
        else:
            typed(event, name, leaf)
    code = event.get("event.code")
    if "winlog.event_id" not in event and isinstance(code, str):
        event["winlog.event_id"] = code


def _enrich(event: Event) -> None:
    """Log sources and the ECS copies."""
    channel, code = _one(event, "winlog.channel"), _one(event, "winlog.event_id")
    provider = _one(event, "winlog.provider_name")
    event["soc.log_sources"] = log_sources().windows(channel, code, provider)
    if code:
        event["event.code"] = code
    if provider:
        event["event.provider"] = provider
    host = _one(event, "winlog.computer_name")
    if host and ("host.name" not in event or not isinstance(event["host.name"], str)):
        event["host.name"] = host
    recipe = _recipe(channel, code, provider)
    if recipe is None:
        return
    copies, meaning = recipe
    for own, field, how in copies:
        value = event.get(own)
        if value.__class__ is str and value and value != "-":
            if how == 0:
                event[field] = value
            else:
                _copy(event, field, how, value)
    if meaning is not None:
        event["event.category"], event["event.action"], event["event.outcome"] = meaning


def _one(event: Event, name: str) -> str:
    value = event.get(name, "")
    return value if value.__class__ is str else ""


_Recipe = tuple[tuple[tuple[str, str, int], ...], tuple[str, str, str] | None]
_PLAIN, _NUMBER, _ADDRESS, _ACCOUNT, _HASHES = range(5)
_RECIPES: Final[dict[tuple[str, str, str], _Recipe | None]] = {}


def _recipe(channel: str, code: str, provider: str) -> _Recipe | None:
    """What to copy for this kind of event, worked out once per kind."""
    key = (channel, code, provider)
    if key in _RECIPES:
        return _RECIPES[key]
    recipe: _Recipe | None = None
    for triple in log_sources().windows(channel, code, provider).split():
        service = triple.rpartition("/")[2]
        copies = COPIES.get((service, code)) or COPIES.get((service, "*"))
        meaning = OUTCOMES.get((service, code))
        if copies or meaning:
            recipe = tuple((DATA + own, field, _how(field)) for own, field in copies or ()), meaning
            break
    if len(_RECIPES) < 50_000:
        _RECIPES[key] = recipe
    return recipe


def _how(field: str) -> int:
    if field.endswith((".pid", ".port")):
        return _NUMBER
    if field.endswith(".ip"):
        return _ADDRESS
    return {"user": _ACCOUNT, "process.hash.": _HASHES}.get(field, _PLAIN)


def _copy(event: Event, field: str, how: int, value: str) -> None:
    if how == _NUMBER:
        try:
            number = int(value, 16) if value[:2] == "0x" else int(value)
        except ValueError:
            return
        if 0 <= number < 2**63:
            event[field] = number
    elif how == _ADDRESS:
        found = address(value)
        if found:
            event[field] = found
    elif how == _ACCOUNT:
        domain, _, name = value.rpartition("\\")
        event["user.name"] = name
        if domain:
            event["user.domain"] = domain
    else:
        for part in value.split(",")[:16]:
            kind, _, digest = part.partition("=")
            if digest and kind in ("MD5", "SHA1", "SHA256"):
                event[f"process.hash.{kind.lower()}"] = digest.lower()
