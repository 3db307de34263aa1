"""Names from outside: which are logs, which are archives, which nobody should trust. No name here ever becomes a path."""
from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["ARCHIVE", "LOG", "PACKED", "shown", "unsafe_name", "unwanted"]

LOG = re.compile(r"\.(evtx|jsonl|ndjson|json|log|raw)(?:[.-]\d{1,14})*(?:\.(?:gz|zst|bz2|xz))?$", re.IGNORECASE)
ARCHIVE = re.compile(r"\.(?:zip|tar|tgz|tbz2?|txz|tzst|tar\.(?:gz|zst|bz2|xz))$", re.IGNORECASE)
PACKED = re.compile(r"\.(?:gz|zst|bz2|xz)$", re.IGNORECASE)


def unsafe_name(name: str) -> str:
    """Why a member's name is not one we would trust, "" if it is fine. (No name ever becomes a path anyway.)"""
    parts = re.split(r"[/\\]", name)
    if not name or "\0" in name:
        return "its name is empty or holds a NUL"
    if name[0] in "/\\" or re.match(r"[A-Za-z]:", name) or ".." in parts:
        return "its name points out of the archive"
    if len(name) > 4096 or any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts):
        return "its name is too long"
    return ""


def unwanted(name: str, evtx_stems: Collection[str]) -> str:
    """Why a file of this name is no log for us, "" if it is one (or an archive that may hold some)."""
    if ARCHIVE.search(name):
        return ""
    if not LOG.search(name):
        return "not a log file by its name"
    stem, _, suffix = name.rpartition(".")
    if suffix.lower() == "json" and stem.lower() in evtx_stems:
        return "a copy: the .evtx of the same name was taken"
    return ""


def shown(name: str) -> str:
    """A member's name as text to show: bounded, and without anything a terminal or a header acts on."""
    text = "".join(c if (c.isprintable() and c.isascii()) or (c.isprintable() and ord(c) > 127) else "\ufffd" for c in name)
    return text if len(text) <= 400 else text[:200] + "…" + text[-199:]
