"""Finds the log files in what a person names: files, folders, archives, compressed files, standard input.

Members of archives are streamed into nameless files of our own; a name from outside is shown and never becomes a path.
Everything that is not taken is given back with the reason, so that an import can list it.
"""
from __future__ import annotations

import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, cast

from collectors import evtx
from collectors.brokenzip import salvage
from collectors.names import LOG, PACKED, unsafe_name, unwanted
from collectors.names import shown as as_shown
from collectors.spool import BROKEN, Limits, Spool, Unpackable, reason_of
from collectors.tarstream import Ending, open_tar
from collectors.unpack import Broken, Inflated, compression_of

__all__ = ["Kind", "Left", "Limits", "LogFile", "Walk"]


class Kind(StrEnum):
    """Which reader a file is for."""

    EVTX = "evtx"
    LINES = "lines"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log file to be read now: `file` is open and seekable until the walk is asked for the next.

    `file_time` is the file's own time in microseconds since 1970 UTC, 0 if unknown or implausible; `upto` is how many
    of the walk's `total` bytes lie behind its end.
    """

    name: str
    kind: Kind
    file: BinaryIO
    file_time: int
    upto: int


@dataclass(frozen=True, slots=True)
class Left:
    """Something that was not taken: `refused` if it should have been and could not, else skipped as no log."""

    name: str
    reason: str
    refused: bool


Found = LogFile | Left

_DIRECTORY_CAP = 64 << 20
_EARLIEST = 378_691_200  # 1982-01-01: earlier dates are what archives write when they know none


class Walk:
    """One pass over inputs. `total` is their size in bytes as far as it is known; `now` in seconds since 1970."""

    def __init__(self, inputs: Sequence[str], spool: Path, now: float, *, stdin: BinaryIO | None = None,
                 limits: Limits | None = None) -> None:
        """`spool` is a folder of ours for unpacked members; `stdin` is what the input `-` reads."""
        self._inputs, self._now, self._stdin = list(inputs), now, stdin
        self._limits = limits or Limits()
        self._spool = Spool(spool, self._limits)
        self._upto = 0
        self._end = 0
        self.total = sum(_size(Path(each)) for each in self._inputs if each != "-")

    def __iter__(self) -> Iterator[Found]:
        """Log files and what was left, in the order in which they lie. Close the iterator to let go of open files."""
        for each in self._inputs:
            base = self._upto
            yield from self._input(each)
            self._upto = max(self._upto, base + (_size(Path(each)) if each != "-" else 0))

    def _input(self, given: str) -> Iterator[Found]:
        if given == "-":
            if self._stdin is None:
                yield Left("-", "there is no standard input", refused=True)
            else:
                yield from self._streamed("stdin", self._stdin)
            return
        path = Path(given)
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                yield from self._folder(path)
            elif stat.S_ISREG(mode):
                yield from self._plain(path, given, direct=True)
            elif stat.S_ISFIFO(mode):
                with open(path, "rb") as pipe:
                    yield from self._streamed(given, pipe)
            else:
                yield Left(given, "neither a file nor a folder", refused=True)
        except (FileNotFoundError, NotADirectoryError):
            yield Left(given, "there is no such file", refused=True)
        except (OSError, ValueError) as fault:
            yield Left(given, reason_of(fault), refused=True)

    def _streamed(self, name: str, stream: BinaryIO) -> Iterator[Found]:
        with self._spool.room() as file:
            try:
                broken = self._spool.copy(stream, file, None)
            except Unpackable as reason:
                yield Left(name, str(reason), refused=True)
                return
            self.total += file.tell()
            self._end = self._upto + file.tell()
            yield from self._file(name, file, 0, depth=0, direct=True)
            if broken:
                yield Left(name, f"{broken}; what came before was taken", refused=True)

    def _folder(self, folder: Path) -> Iterator[Found]:
        for where, below, names in os.walk(folder, onerror=None):
            below.sort()
            stems = {name[:-5].lower() for name in names if name.lower().endswith(".evtx")}
            for link in [name for name in below if os.path.islink(os.path.join(where, name))]:
                below.remove(link)
                yield Left(os.path.join(where, link), "a symbolic link: name its target to import it", refused=False)
            if not os.access(where, os.R_OK | os.X_OK):
                yield Left(where, "no permission to read this folder", refused=True)
            for name in sorted(names):
                path = Path(where) / name
                if path.is_symlink() or not path.is_file():
                    reason = "a symbolic link: name its target to import it" if path.is_symlink() else "no regular file"
                    yield Left(str(path), reason, refused=False)
                elif reason := unwanted(name, stems):
                    yield Left(str(path), reason, refused=False)
                else:
                    yield from self._plain(path, str(path), direct=False)
            for name in list(below):
                if not os.access(os.path.join(where, name), os.R_OK | os.X_OK):
                    below.remove(name)
                    yield Left(os.path.join(where, name), "no permission to read this folder", refused=True)

    def _plain(self, path: Path, name: str, *, direct: bool) -> Iterator[Found]:
        try:
            file = open(path, "rb")  # noqa: SIM115 -- closed below, after it was read by the caller
        except OSError as fault:
            yield Left(name, reason_of(fault), refused=True)
            return
        with file:
            info = os.fstat(file.fileno())
            self._end = end = self._upto + info.st_size
            yield from self._file(name, file, self._plausible(info.st_mtime), depth=0, direct=direct)
            self._upto = end

    def _file(self, name: str, file: BinaryIO, file_time: int, *, depth: int, direct: bool) -> Iterator[Found]:
        """One open file, whatever it is: an archive, something compressed, a log, or nothing for us."""
        file.seek(0)
        start = file.read(512)
        packing = compression_of(start)
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")) or _is_tar(start):
            if depth > self._limits.depth:
                yield Left(name, "an archive too deep within archives; unpack it and import it by itself", refused=False)
            elif start.startswith(b"PK"):
                yield from self._zip(name, file, depth)
            else:
                yield from self._tar(name, lambda: _rewound(file), file, depth)
        elif packing:
            yield from self._packed(name, file, packing, file_time, depth=depth, direct=direct)
        elif start and not direct and not LOG.search(name):
            yield Left(name, "named as an archive or compressed file and is none", refused=True)
        else:
            yield from self._log(name, start, file, file_time, depth=depth, direct=direct)

    def _packed(
        self, name: str, file: BinaryIO, packing: str, file_time: int, *, depth: int, direct: bool,
    ) -> Iterator[Found]:
        def content() -> BinaryIO:
            return cast(BinaryIO, Inflated(_rewound(file), packing))

        try:
            start = _read_fully(content(), 512)
        except Broken as fault:
            start = fault.args[1] if len(fault.args) > 1 else b""
        if _is_tar(start):
            if depth > self._limits.depth:
                yield Left(name, "an archive too deep within archives; unpack it and import it by itself", refused=False)
            else:
                yield from self._tar(name, content, file, depth)
            return
        with self._spool.room() as room:
            try:
                broken = self._spool.copy(content(), room, file)
            except Unpackable as reason:
                yield Left(name, str(reason), refused=True)
                return
            if room.tell() or not broken:
                room.seek(0)
                head = room.read(512)
                if compression_of(head) or head.startswith(b"PK\x03\x04"):
                    yield Left(name, "packed more than once; unpack it and import it by itself", refused=True)
                else:
                    yield from self._log(PACKED.sub("", name), head, room, file_time, depth=depth, direct=direct)
            if broken:
                yield Left(name, f"{broken}; what came before was taken", refused=True)

    def _log(
        self, name: str, start: bytes, file: BinaryIO, file_time: int, *, depth: int, direct: bool,
    ) -> Iterator[Found]:
        known = LOG.search(name)
        suffix = known[1].lower() if known else ""
        if start.startswith(evtx.MAGIC) or suffix == "evtx":
            kind = Kind.EVTX
        elif suffix == "json" or (not suffix and start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")):
            kind = Kind.JSON
        else:
            kind = Kind.LINES
        if not suffix and kind is not Kind.EVTX:
            if name.lower().endswith(".csv"):
                yield Left(name, "CSV is not a log format that is understood; convert it to JSON lines", refused=True)
                return
            if b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff")):
                yield Left(name, "not a log file: its content is binary", refused=True)
                return
        if depth == 0:
            self._upto = self._end
        yield LogFile(name, kind, file, file_time, self._upto)

    # ---- archives

    def _zip(self, name: str, file: BinaryIO, depth: int) -> Iterator[Found]:
        file.seek(0)
        try:
            self._check_directory(file)
            archive = zipfile.ZipFile(file)
        except Unpackable as refusal:
            yield Left(name, str(refusal), refused=True)
            return
        except BROKEN as fault:
            yield from self._salvaged(name, file, depth, str(fault))
            return
        base = self._upto
        with archive:
            members = [each for each in archive.infolist() if not each.filename.endswith("/")]  # is_dir() fails on an empty name
            stems = {each.filename[:-5].lower() for each in members if each.filename.lower().endswith(".evtx")}
            for member in members:
                shown = f"{name}/{as_shown(member.orig_filename)}"
                if stat.S_ISLNK(member.external_attr >> 16):
                    yield Left(shown, "a symbolic link", refused=False)
                elif reason := unsafe_name(member.orig_filename) or unwanted(member.filename, stems):
                    yield Left(shown, reason, refused=False)
                elif member.flag_bits & 1:
                    yield Left(shown, "encrypted", refused=True)
                else:
                    if depth == 0:
                        self._upto = base + member.header_offset + member.compress_size
                    yield from self._zip_member(archive, member, shown, depth)

    def _zip_member(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, shown: str, depth: int) -> Iterator[Found]:
        try:
            seconds = _zip_time(member)
            with archive.open(member) as stream, self._spool.room() as room:
                broken = self._spool.copy(cast(BinaryIO, stream), room, member.compress_size)
                if room.tell() or not broken:
                    yield from self._file(shown, room, self._plausible(seconds), depth=depth + 1, direct=False)
                if broken:
                    yield Left(shown, f"{broken}; what came before was taken", refused=True)
        except Unpackable as reason:
            yield Left(shown, str(reason), refused=True)
        except BROKEN as fault:
            yield Left(shown, f"it cannot be unpacked ({reason_of(fault)})", refused=True)

    def _check_directory(self, file: BinaryIO) -> None:
        """Refuse a .zip whose directory names too many entries, before the library loads it."""
        end = file.seek(0, os.SEEK_END)
        tail_size = min(end, 22 + 65535 + 20 + 56)
        file.seek(end - tail_size)
        tail = file.read(tail_size)
        found = tail.rfind(b"PK\x05\x06")
        if found < 0:
            return
        size = int.from_bytes(tail[found + 12:found + 16], "little")
        large = tail.rfind(b"PK\x06\x06")
        if large >= 0:
            size = max(size if size != 0xFFFFFFFF else 0, int.from_bytes(tail[large + 40:large + 48], "little"))
        if size > min(end, _DIRECTORY_CAP):
            if size <= end:
                raise Unpackable(f"more than {self._limits.entries:,} entries")
            return
        directory_end = end - tail_size + (large if 0 <= large < found else found)
        file.seek(max(0, directory_end - size))
        if file.read(size).count(b"PK\x01\x02") > self._limits.entries:
            raise Unpackable(f"more than {self._limits.entries:,} entries")

    def _salvaged(self, name: str, file: BinaryIO, depth: int, fault: str) -> Iterator[Found]:
        seen = 0
        try:
            for member in salvage(file):
                seen += 1
                if seen > self._limits.entries:
                    raise Broken(f"more than {self._limits.entries:,} entries")
                shown = f"{name}/{as_shown(member.name)}"
                reason = unsafe_name(member.name) or ("" if member.name.endswith("/") else unwanted(member.name, set()))
                with self._spool.room() as room:
                    broken = self._spool.copy(cast(BinaryIO, member), room, file)
                    after = file.tell()
                    if reason:
                        yield Left(shown, reason, refused=False)
                    elif not member.name.endswith("/"):
                        yield from self._file(shown, room, 0, depth=depth + 1, direct=False)
                    if broken and not reason:
                        yield Left(shown, f"{broken}; what came before was taken", refused=True)
                    file.seek(after)
        except (Unpackable, Broken) as stop:
            fault = str(stop)
        yield Left(name, f"a damaged archive ({fault}); what reads of it was taken", refused=True)

    def _tar(self, name: str, content: Callable[[], BinaryIO], raw: BinaryIO, depth: int) -> Iterator[Found]:
        """A tar is walked twice: once for its names (copies stand before or behind what they are copies of), once to read."""
        stems: set[str] = set()
        fault = ""
        count = 0
        try:
            with open_tar(content()) as names:
                for entry in names:
                    names.members.clear()  # type: ignore[attr-defined]
                    count += 1
                    if count > self._limits.entries:
                        yield Left(name, f"more than {self._limits.entries:,} entries", refused=True)
                        return
                    if entry.name.lower().endswith(".evtx"):
                        stems.add(entry.name[:-5].lower())
        except (tarfile.TarError, Broken, OSError, ValueError) as broken:
            fault = reason_of(broken)
        base = self._upto
        ending = Ending(content())
        try:
            with open_tar(cast(BinaryIO, ending)) as archive:
                for entry in archive:
                    archive.members.clear()  # type: ignore[attr-defined]
                    if depth == 0:
                        self._upto = base + raw.tell()
                    yield from self._tar_entry(name, archive, entry, stems, raw, depth)
        except Unpackable as reason:
            fault = str(reason)
        except (tarfile.TarError, Broken, OSError, ValueError) as broken:
            fault = fault or reason_of(broken)
        if not fault and ending.cut_off():
            fault = "it has no end mark"
        if fault:
            yield Left(name, f"a damaged archive ({fault}); what reads of it was taken", refused=True)

    def _tar_entry(
        self, name: str, archive: tarfile.TarFile, entry: tarfile.TarInfo, stems: set[str], raw: BinaryIO, depth: int,
    ) -> Iterator[Found]:
        shown = f"{name}/{as_shown(entry.name)}"
        if entry.isdir():
            return
        if not entry.isreg():
            kind = "symbolic link" if entry.issym() else "hard link" if entry.islnk() else "device or other special file"
            yield Left(shown, f"a {kind}", refused=False)
            return
        if reason := unsafe_name(entry.name) or unwanted(entry.name, stems):
            yield Left(shown, reason, refused=False)
            return
        stream = archive.extractfile(entry)
        assert stream is not None  # it is a regular file
        with self._spool.room() as room:
            try:
                broken = self._spool.copy(cast(BinaryIO, stream), room, raw)
            except Unpackable as refusal:
                yield Left(shown, str(refusal), refused=True)
                return
            if room.tell() or not broken:
                yield from self._file(shown, room, self._plausible(entry.mtime), depth=depth + 1, direct=False)
            if broken:
                yield Left(shown, f"{broken}; what came before was taken", refused=True)

    def _plausible(self, seconds: float) -> int:
        """A file's time in microseconds, or 0 if nobody can have meant it."""
        return int(seconds * 1_000_000) if _EARLIEST <= seconds <= self._now + 86_400 else 0


def _is_tar(start: bytes) -> bool:
    return start[257:262] == b"ustar"


def _size(path: Path) -> int:
    """Bytes at `path`, a folder's files together; 0 if it cannot be told."""
    try:
        if not path.is_dir():
            return path.stat().st_size
        return sum((Path(where) / name).lstat().st_size for where, _, names in os.walk(path) for name in names)
    except (OSError, ValueError):
        return 0


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _read_fully(stream: BinaryIO, size: int) -> bytes:
    got = b""
    try:
        while len(got) < size and (piece := stream.read(size - len(got))):
            got += piece
    except Broken as fault:
        raise Broken(str(fault), got) from fault
    return got


def _zip_time(member: zipfile.ZipInfo) -> float:
    import calendar

    try:
        return calendar.timegm((*member.date_time, 0, 1, 0))
    except (ValueError, OverflowError):
        return 0
