"""Backup while running, and restore: a folder that is a whole, consistent centre of one moment, with a checked list.

Order makes it consistent: state first, then node.db, then the files it names, then the journal. What a later part knows
more than an earlier one is done again on restart, with the same ids. The hold keeps compaction out of the way.
"""
from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from soc.errors import DamagedError, InputRefused, StoreError
from soc.store.hold import hold
from soc.store.manifest import Manifest

__all__ = ["LIST", "backup", "check", "restore"]

LIST = "backup.json"
_DATABASES = ("state.db", "access.db", "node.db")
_KEPT = ("quarantine", "tls", "lists", "mappings")
"""Folders that go with the data as they are; the last two are what an administrator keeps beside the rules."""


def backup(data: Path, target: Path, *, progress: Callable[[int, int], None] | None = None) -> dict[str, object]:
    """Copy the centre at `data` into the new or empty folder `target`; returns what was copied.

    Databases on PostgreSQL are not in it: pg_dump them at the same time. Raises InputRefused, StoreError.
    """
    if target.exists() and any(target.iterdir()):
        raise InputRefused(f"{target} is not empty", remedy="name a new folder; one backup, one folder")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    files: dict[str, dict[str, object]] = {}
    with hold(data, wait=True):
        for name in _DATABASES:
            if (data / name).exists():
                _copy_database(data / name, target / name)
                files[name] = _fingerprint(target / name)
        manifest = Manifest.open(target)
        try:
            segments = manifest.snapshot().segments
            quarantined = manifest.quarantined()
        finally:
            manifest.close()
        files["node.db"] = _fingerprint(target / "node.db")
        total, done = sum(s.bytes for s in segments) or 1, 0
        for segment in segments:
            for path in filter(None, (segment.path, segment.tokens)):
                _copy(data / path, target / path)
                files[path] = _fingerprint(target / path)
            if files[segment.path]["sha256"] != segment.sha256:
                raise DamagedError(f"{segment.path} is damaged; the backup stops", remedy="run `soc store verify`, quarantine it, then try again")
            done += segment.bytes
            if progress is not None:
                progress(done, total)
        for path in (*(p for _, p, _ in quarantined), "centre.json", *(p for kept in _KEPT for p in _tree(data, kept))):
            if (data / path).exists():
                _copy(data / path, target / path)
                files[path] = _fingerprint(target / path)
        for path in _journal(data):
            _copy(data / path, target / path)
            files[path] = _fingerprint(target / path)
    card: dict[str, object] = {"format": 1, "taken": time.time(), "events": sum(s.rows for s in segments), "files": files}
    (target / LIST).write_bytes(orjson.dumps(card, option=orjson.OPT_INDENT_2))
    _sync_tree(target)
    return card


def check(source: Path) -> Iterator[str]:
    """Every file of a backup that is missing or not what it was. Raises InputRefused if it is no backup."""
    try:
        card = orjson.loads((source / LIST).read_bytes())
        files = card["files"]
    except (OSError, ValueError, KeyError) as fault:
        raise InputRefused(f"{source} is no finished backup: {LIST} is missing or unreadable") from fault
    for name, known in files.items():
        path = source / name
        if not path.is_file():
            yield f"{name} is missing"
        elif _fingerprint(path) != known:
            yield f"{name} is not what was backed up"


def restore(source: Path, data: Path, *, progress: Callable[[int, int], None] | None = None) -> int:
    """Make the new or empty folder `data` from a backup, checked before anything is written; returns files copied."""
    if data.exists() and any(data.iterdir()):
        raise InputRefused(f"{data} is not empty", remedy="restore into a new folder, then start the centre there")
    faults = list(check(source))
    if faults:
        raise DamagedError("the backup is damaged: " + "; ".join(faults[:5]), remedy="use another backup; nothing was written")
    names = list(orjson.loads((source / LIST).read_bytes())["files"])
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.chmod(0o700)
    for number, name in enumerate(sorted(names, key=lambda n: n == "centre.json")):  # the card last: half a restore is no centre
        _copy(source / name, data / name)
        if progress is not None:
            progress(number + 1, len(names))
    _sync_tree(data)
    return len(names)


def _copy_database(source: Path, target: Path) -> None:
    """SQLite's own online backup: consistent while others write."""
    try:
        with sqlite3.connect(source, timeout=30) as old, sqlite3.connect(target) as new:
            old.backup(new)
        new.close()
        old.close()
    except sqlite3.Error as fault:
        raise StoreError(f"{source.name} could not be copied: {fault}") from fault
    target.chmod(0o600)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o600)


def _journal(data: Path) -> list[str]:
    """The marks first: a mark must never name more than the files copied after it hold."""
    marks = [str(p.relative_to(data)) for p in sorted((data / "journal").rglob("mark"))]
    return marks + [str(p.relative_to(data)) for p in sorted((data / "journal").rglob("*.jrn"))]


def _tree(data: Path, folder: str) -> list[str]:
    return [str(p.relative_to(data)) for p in sorted((data / folder).rglob("*")) if p.is_file()]


def _fingerprint(path: Path) -> dict[str, object]:
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _sync_tree(root: Path) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            _sync(Path(folder) / name, os.O_RDONLY)
        _sync(Path(folder), os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
