"""Where a running server listens: noted by its supervisor, so that a command in another terminal, under other settings, knows it."""
from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from soc.config import Config
from soc.folder import DataFolder

__all__ = ["NOTE", "addresses_of", "as_running"]

NOTE = "supervisor.json"
"""The supervisor's note in `run/` of the data folder; there while it runs."""

_NOTED = {
    "console": ("host", "port"), "gateway": ("host", "port"), "syslog": ("enabled", "host", "port", "plain", "tls_port"),
    "tls": ("certificate", "key"),
}
"""The settings that say where and how a server is reached; paths of certificates, never what is in them."""

_ROLES = {"console": "console", "gateway": "gateway", "syslog": "gateway"}


def addresses_of(config: Config, roles: Collection[str]) -> dict[str, dict[str, Any]]:
    """What `as_running` needs of the configuration that a server of these roles was started with."""
    return {section: {name: getattr(getattr(config, section), name) for name in names}
            for section, names in _NOTED.items() if section == "tls" or _ROLES[section] in roles}


def as_running(config: Config, data: Path) -> Config:
    """`config` with the addresses of the server that runs on this data folder; as it is while none does."""
    noted = _note(data)
    changed = {section: replace(getattr(config, section), **_fitting(getattr(config, section), noted.get(section), names))
               for section, names in _NOTED.items()}
    return replace(config, **changed)


def _note(data: Path) -> Mapping[str, Any]:
    """The `listens` of the note, {} if no server of this folder wrote it."""
    try:
        found = json.loads((data / "run" / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict) or not isinstance(found.get("listens"), dict):
        return {}
    holder = DataFolder(data, "").holder()
    return found["listens"] if holder is not None and holder == found.get("pid") else {}


def _fitting(section: object, noted: object, names: tuple[str, ...]) -> dict[str, Any]:
    """The noted values that have the type of the setting."""
    if not isinstance(noted, dict):
        return {}
    return {name: noted[name] for name in names if name in noted and type(noted[name]) is type(getattr(section, name))}
