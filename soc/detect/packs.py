"""Rule packs: the files of a zip, a folder or a single file, read under caps before anything of them is used.

A zip that tries anything (names that leave it, links, clashes, bombs) is refused as a whole. Names never become paths.
"""
from __future__ import annotations

import lzma
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from soc.detect.yamltext import MAX_BYTES
from soc.errors import InputRefused, TooLargeError

__all__ = ["LOCAL", "SAMPLES", "MAX_ENTRIES", "Pack", "PackFile", "read_pack"]

LOCAL: Final = "local"
"""The pack of rules imported as single files."""
MAX_ENTRIES: Final = 50_000
MAX_TOTAL: Final = 256 * 1024 * 1024
"""Bytes of all rule files together."""
_MAX_DECLARED: Final = 2 * 1024 * 1024 * 1024
_MAX_DIRECTORY: Final = 16 * 1024 * 1024
SAMPLES: Final = ".samples.jsonl"
"""How a file beside a rule ends that holds its samples."""
_NO_END: Final = "it has no end"
_AGAIN: Final = "copy or fetch it again; nothing of it was imported"
_RULE_NAME: Final = re.compile(r"\.ya?ml\Z", re.IGNORECASE)
_DAMAGED: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, RuntimeError, UnicodeError, struct.error)
_END: Final = struct.Struct("<4s4H2LH")


@dataclass(frozen=True, slots=True)
class PackFile:
    """A rule file: its name inside the pack, and its bytes (at most one over `MAX_BYTES`, so that it is refused)."""

    path: str
    data: bytes


@dataclass(slots=True)
class Pack:
    """What a pack holds; `whole` says that it is the pack's complete content (a single file is not)."""

    name: str
    whole: bool
    files: list[PackFile] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def read_pack(path: Path) -> Pack:
    """Read a zip, a folder or one rule file. Raises InputRefused (TooLargeError) for the pack as a whole."""
    if path.is_dir():
        return _folder(path)
    try:
        with path.open("rb") as file:
            if file.read(4) in (b"PK\x03\x04", b"PK\x05\x06"):
                return _zip(path, file)
            file.seek(0)
            if not _RULE_NAME.search(path.name):
                raise InputRefused(f"{path.name}: not a rule pack", remedy="give a .zip, a folder, or a .yml file")
            return Pack(LOCAL, False, [PackFile(path.name, file.read(MAX_BYTES + 1))])
    except OSError as error:
        raise InputRefused(f"{path}: {error.strerror or error}") from None


def _folder(path: Path) -> Pack:
    pack = Pack(path.resolve().name or LOCAL, True)
    total = 0
    for number, (name, place) in enumerate(_walk(path)):
        if number >= MAX_ENTRIES:
            raise TooLargeError(f"{path}: more than {MAX_ENTRIES} files")
        if place.is_symlink() or not place.is_file():
            pack.skipped.append((name, "a link or special file: not followed"))
        elif not _RULE_NAME.search(name):
            if not name.endswith(SAMPLES):
                pack.skipped.append((name, "not a rule file by its name"))
        else:
            try:
                with place.open("rb") as file:
                    data = file.read(MAX_BYTES + 1)
            except OSError as error:
                raise InputRefused(f"{place}: {error.strerror or error}") from None
            total += len(data)
            if total > MAX_TOTAL:
                raise TooLargeError(f"{path}: more than {MAX_TOTAL} bytes of rules")
            pack.files.append(PackFile(name, data))
    return pack


def _walk(path: Path) -> Iterator[tuple[str, Path]]:
    for folder, inner, names in os.walk(path):
        inner[:] = sorted(one for one in inner if not one.startswith("."))
        for name in sorted(names):
            place = Path(folder) / name
            shown = place.relative_to(path).as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            yield shown, place


def _zip(path: Path, file: BinaryIO) -> Pack:
    _check_directory(path, file)
    pack = Pack(path.stem or LOCAL, True)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_entries(path, entries)
            total = 0
            for entry in entries:
                if entry.is_dir():
                    continue
                if not _RULE_NAME.search(entry.filename):
                    if not entry.filename.endswith(SAMPLES):
                        pack.skipped.append((entry.filename, "not a rule file by its name"))
                    continue
                with archive.open(entry) as member:
                    data = member.read(MAX_BYTES + 1)
                total += len(data)
                if total > MAX_TOTAL:
                    raise TooLargeError(f"{path.name}: more than {MAX_TOTAL} bytes of rules")
                pack.files.append(PackFile(entry.filename, data))
    except _DAMAGED as error:
        raise InputRefused(f"{path.name}: a damaged archive: {str(error)[:200]}", remedy=_AGAIN) from None
    return pack


def _check_directory(path: Path, file: BinaryIO) -> None:
    """The size of the archive's directory, before anything reads it into memory."""
    size = file.seek(0, os.SEEK_END)
    tail = min(size, _END.size + 65_535)
    file.seek(size - tail)
    data = file.read(tail)
    at = data.rfind(b"PK\x05\x06")
    if at < 0 or len(data) - at < _END.size:
        raise InputRefused(f"{path.name}: a damaged archive: {_NO_END}", remedy=_AGAIN)
    _, _, _, _, entries, directory, start, _ = _END.unpack_from(data, at)
    if entries == 0xFFFF or directory == 0xFFFFFFFF or start == 0xFFFFFFFF:
        raise TooLargeError(f"{path.name}: more than {MAX_ENTRIES} entries, or 4 GB")
    if entries > MAX_ENTRIES or directory > _MAX_DIRECTORY:
        raise TooLargeError(f"{path.name}: more than {MAX_ENTRIES} entries")
    file.seek(0)


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse the whole archive for one bad entry."""
    if len(entries) > MAX_ENTRIES:
        raise TooLargeError(f"{path.name}: more than {MAX_ENTRIES} entries")
    seen: dict[str, str] = {}
    declared = 0
    for entry in entries:
        name = entry.orig_filename
        reason = _unsafe(name, entry)
        if reason:
            raise InputRefused(f"{path.name}: refused as a whole: {reason}: {name[:120]!r}", remedy="nothing of it was imported")
        key = unicodedata.normalize("NFC", name.rstrip("/")).casefold()
        if key in seen:
            raise InputRefused(
                f"{path.name}: refused as a whole: {seen[key][:120]!r} and {name[:120]!r} are one name on some systems",
                remedy="nothing of it was imported")
        seen[key] = name
        declared += entry.file_size
        if declared > _MAX_DECLARED or (entry.file_size > 64 * MAX_BYTES and entry.file_size > 200 * max(entry.compress_size, 1)):
            raise TooLargeError(f"{path.name}: refused as a whole: {name[:120]!r} unpacks to an absurd size",
                                remedy="nothing of it was imported")


def _unsafe(name: str, entry: zipfile.ZipInfo) -> str:
    parts = re.split(r"[/\\]", name)
    if not name or "\0" in name or any(ord(sign) < 32 for sign in name):
        return "a name that holds control characters"
    if name[0] in "/\\" or re.match(r"[A-Za-z]:", name) or ".." in parts or "\\" in name:
        return "a name that points out of the archive"
    if len(name.encode("utf-8", "surrogatepass")) > 1024:
        return "too long a name"
    mode = entry.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or a device"
    return "an encrypted file" if entry.flag_bits & 1 else ""
