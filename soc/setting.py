"""One setting of the configuration: its kind, how its text is read, its bounds and its sentence."""
from __future__ import annotations

import dataclasses
import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from soc.secret import Secret

__all__ = ["Kind", "Setting", "duration", "loopback", "percent", "setting", "size"]

_DURATIONS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"B": 1, "kB": 10**3, "KiB": 2**10, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30, "TB": 10**12, "TiB": 2**40}
_NUMBER = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z%]*)", re.ASCII)
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


class Kind(StrEnum):
    """What a setting's text stands for; the value says what kind of text is wanted."""

    TEXT = "text"
    CHOICE = "one of"
    FLAG = "true or false"
    COUNT = "a whole number"
    PORT = "a port number, 0 to 65535"
    HOST = "an IP address or host name"
    DURATION = "a time with its unit, such as 30s, 5m, 12h or 365d"
    SIZE = "a size with its unit, such as 512KiB, 16MiB or 2GiB"
    PERCENT = "a share, such as 80%"
    ZONE = "a time zone of the IANA list, such as Asia/Ho_Chi_Minh"
    DATABASE = "the URL of a PostgreSQL database, postgresql://…, or nothing"
    DURATIONS = "names, each with a time and its unit"


@dataclass(frozen=True, slots=True)
class Setting:
    """How one key is read: `default` is text as it stands in config.yaml; bounds are text too ("" is none)."""

    kind: Kind
    default: str
    sentence: str
    low: str = ""
    high: str = ""
    choices: tuple[str, ...] = ()

    def read(self, text: str) -> Any:
        """The value of `text`. Raises ValueError with what is wanted instead."""
        value = _READERS[self.kind](text)
        if self.kind is Kind.CHOICE and value not in self.choices:
            raise ValueError(f"{text!r} is not one of {', '.join(self.choices)}")
        if self.low and value < _READERS[self.kind](self.low):
            raise ValueError(f"{text} is below the least allowed, {self.low}")
        if self.high and value > _READERS[self.kind](self.high):
            raise ValueError(f"{text} is above the most allowed, {self.high}")
        return value


def setting(
    kind: Kind, default: str, sentence: str, *, low: str = "", high: str = "", choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field whose metadata is its `Setting` and whose default is the default's value."""
    described = Setting(kind, default, sentence, low, high, choices)
    if kind is Kind.DURATIONS:
        return dataclasses.field(default_factory=dict, metadata={"setting": described})
    return dataclasses.field(default=described.read(default), metadata={"setting": described})


def duration(text: str) -> float:
    """Seconds of `30s`, `5m`, `1.5h`, `365d`, `2w`, `200ms`. Raises ValueError."""
    return _measure(text, _DURATIONS, Kind.DURATION)


def size(text: str) -> int:
    """Bytes of `64MiB`, `512KiB`, `2GB`. Raises ValueError."""
    return math.floor(_measure(text, _SIZES, Kind.SIZE))


def percent(text: str) -> float:
    """`80%` as 0.8. Raises ValueError unless it lies in 0% to 100%."""
    value = _measure(text, {"%": 0.01}, Kind.PERCENT)
    if value > 1:
        raise ValueError(f"{text!r} is more than all")
    return value


def loopback(host: str) -> bool:
    """Whether listening on `host` reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _measure(text: str, units: dict[str, Any], kind: Kind) -> float:
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not {kind.value}")
    number, unit = match.groups()
    if unit not in units:
        same = [known for known in units if known.lower() == unit.lower()]
        hint = f"; did you mean {same[0]}?" if same else ""
        known = ", ".join(units)
        raise ValueError(f"{text!r} {'has no unit' if not unit else f'has the unknown unit {unit!r}'} (known: {known}){hint}")
    return round(float(number) * float(units[unit]), 9)


def _text(text: str) -> str:
    if any(not c.isprintable() for c in text):
        raise ValueError(f"{text!r} holds control characters")
    return text


def _flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"{text!r} is not {Kind.FLAG.value}")


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9][0-9_]{0,17}", text, re.ASCII):
        raise ValueError(f"{text!r} is not {Kind.COUNT.value}")
    return int(text.replace("_", ""))


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or int(text) > 65535:
        raise ValueError(f"{text!r} is not {Kind.PORT.value}")
    return int(text)


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    labels = text.removesuffix(".").split(".")
    named = all(re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", label, re.ASCII) for label in labels)
    if len(text) > 253 or not named or labels[-1].isdigit():
        raise ValueError(f"{text!r} is not {Kind.HOST.value}")
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{text!r} is not {Kind.ZONE.value}") from error
    return text


def _database(text: str) -> Secret:
    if text and not re.match(r"postgres(ql)?(\+psycopg)?://", text):
        raise ValueError(f"this is not {Kind.DATABASE.value}")  # never the text: it may hold a password
    return Secret(text)


def _no_scalar(text: str) -> Any:
    raise ValueError(f"{text!r} is not {Kind.DURATIONS.value}")


_READERS: dict[Kind, Callable[[str], Any]] = {
    Kind.TEXT: _text, Kind.CHOICE: _text, Kind.FLAG: _flag, Kind.COUNT: _count, Kind.PORT: _port, Kind.HOST: _host,
    Kind.DURATION: duration, Kind.SIZE: size, Kind.PERCENT: percent, Kind.ZONE: _zone, Kind.DURATIONS: _no_scalar,
    Kind.DATABASE: _database,
}
