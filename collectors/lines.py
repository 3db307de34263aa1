"""Text files as records: one a line, or one a JSON document. First step of an import; nothing is interpreted here.

Lines end at LF or CRLF, blank ones are no records, a last line without a newline is one. UTF-16 and UTF-32 (with a
byte order mark) become UTF-8. No record grows over the cap, whatever the file holds.
"""
from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

__all__ = ["RECORD_CAP", "Tally", "cut_record", "ends_whole", "every_line", "every_text", "read_json", "read_lines"]

RECORD_CAP = 1 << 20
"""Longest record in bytes, the marker of a cut one included."""

_CHUNK = 1 << 20
_DOCUMENT_CAP = 64 << 20
_NAMED = 20


@dataclass(slots=True)
class Tally:
    """What a reader could not give whole: `bad` records lost, `cut` records shortened; the first faults by name."""

    bad: int = 0
    cut: int = 0
    faults: list[str] = field(default_factory=list)

    def lost(self, fault: str, count: int = 1) -> None:
        """Count records that could not be read; the first few faults are kept in words."""
        self.bad += count
        self.name(fault)

    def name(self, fault: str) -> None:
        """Keep a fault in words, if there are not many yet."""
        if len(self.faults) < _NAMED:
            self.faults.append(fault[:300])


def read_lines(file: BinaryIO, tally: Tally, cap: int = RECORD_CAP) -> Iterator[bytes]:
    """The lines of `file` from its start, without their ends. A line over `cap` bytes is cut, marked and counted."""
    file.seek(0)
    for lines in every_line(file, tally, cap):
        for line in lines:
            if line:
                yield line


def every_line(file: BinaryIO, tally: Tally, cap: int = RECORD_CAP) -> Iterator[list[bytes]]:
    """All lines of a stream from where it stands, blank ones too, so that they can be counted: a list a read.

    As `read_lines` gives them otherwise. A short read gives a short list: what has come in is not held back.
    """
    for text in every_text(file, tally, cap):
        lines = text.split(b"\n")
        lines.pop()
        yield lines


def every_text(file: BinaryIO, tally: Tally, cap: int = RECORD_CAP) -> Iterator[bytes]:
    """The same lines together as they were read: pieces of a megabyte or so, of whole lines that each end with LF alone."""
    rest, over = b"", 0
    for chunk in _utf8(file):
        if over:
            first, newline, chunk = chunk.partition(b"\n")
            over += len(first)
            if not newline:
                continue
            yield cut_record(rest, len(rest) + over, tally, cap) + b"\n"
            rest, over = b"", 0
        end = chunk.rfind(b"\n") + 1
        if end:
            yield _mended(b"".join((rest, memoryview(chunk)[:end])), tally, cap)
            rest = chunk[end:]
        else:
            rest += chunk
        if len(rest) > cap:
            rest, over = rest[:cap], len(rest) - cap
    if over:
        yield cut_record(rest, len(rest) + over, tally, cap) + b"\n"
    elif rest := rest.removesuffix(b"\r"):
        yield rest + b"\n"


def _mended(text: bytes, tally: Tally, cap: int) -> bytes:
    """Lines with LF alone, none over the cap."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    at = 0
    while len(text) - at > cap:
        newline = text.rfind(b"\n", at, at + cap + 1)
        if newline < 0:
            return b"".join((line if len(line) <= cap else cut_record(line, len(line), tally, cap)) + b"\n" for line in text[:-1].split(b"\n"))
        at = newline + 1
    return text


def cut_record(head: bytes, size: int, tally: Tally, cap: int = RECORD_CAP) -> bytes:
    """The start of a record of `size` bytes that is over `cap`, with a marker that says so; counted in `tally`."""
    tally.cut += 1
    marker = b" [cut: %d bytes in all]" % size
    kept = head[: cap - len(marker)]
    while kept and kept[-1] & 0xC0 == 0x80:
        kept = kept[:-1]
    return (kept[:-1] if kept and kept[-1] >= 0xC0 else kept) + marker


def ends_whole(file: BinaryIO, size: int) -> bool:
    """Whether a line ends within or right at `size` bytes, so that what follows is a line of its own."""
    file.seek(0)
    start = file.read(4)
    encoding = _encoding(start)
    unit = 1 if encoding == "utf-8" else 2 if encoding.startswith("utf-16") else 4
    file.seek(max(0, size - unit))
    around = file.read(3 * unit)
    text = around.decode("latin-1" if unit == 1 else encoding, "replace")
    return text[:1] == "\n" or text[1:2] == "\n" or text[1:3] == "\r\n"


def read_json(file: BinaryIO, tally: Tally, cap: int = RECORD_CAP) -> Iterator[bytes]:
    """The records of a `.json` file: JSON lines, an array's elements, or documents one after another.

    Each record is the text as it stands in the file. A file that does not begin as JSON is read as lines; behind a
    broken document nothing can be read: counted as bad, and named.
    """
    file.seek(0)
    start = file.read(64 * 1024)
    text = start.decode(_encoding(start), "replace").lstrip("\ufeff \t\r\n")
    if not _documents(text):
        yield from read_lines(file, tally, cap)
        return
    file.seek(0)
    yield from _Documents(file, tally, cap)


def _documents(start: str) -> bool:
    """Whether a file that starts so holds an array or documents over several lines, rather than JSON lines."""
    if start.startswith("["):
        return start[1:].lstrip()[:1] in ("{", "]", "[")
    if not start.startswith("{"):
        return False
    line, newline, _ = start.partition("\n")
    if not newline:
        return False  # one document on one line, or lines longer than any we keep: either way lines
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return len(line) < 256 or not line.rstrip().endswith("}")
    return False


class _Documents:
    """Walks JSON values in a text that is read as it is needed; arrays at the top are opened."""

    def __init__(self, file: BinaryIO, tally: Tally, cap: int) -> None:
        self._chunks = _utf8(file)
        self._tally, self._cap = tally, cap
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._json = json.JSONDecoder(strict=False, parse_int=_nothing, parse_float=_nothing)
        self._text, self._at, self._passed, self._ended = "", 0, 0, False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n,[]\ufeff":
                self._at += 1
            if self._at >= len(self._text):
                if not self._more(_CHUNK):
                    return
                continue
            record = self._value()
            if record is None:
                return
            yield record if len(record) <= self._cap else cut_record(record, len(record), self._tally, self._cap)

    def _value(self) -> bytes | None:
        wanted = _CHUNK
        while True:
            try:
                _, end = self._json.raw_decode(self._text, self._at)
                if end < len(self._text) or self._text[end - 1] in '}]"' or not self._more(wanted):
                    record = self._text[self._at:end].encode("utf-8", "surrogateescape")
                    self._at = end
                    return record
            except RecursionError:
                self._tally.lost(f"nested too deeply at character {self._passed + self._at}; the rest was not read")
                return None
            except ValueError as fault:
                held = len(self._text) - self._at
                if held > _DOCUMENT_CAP or not self._more(wanted):
                    reason = str(fault).partition(":")[0]
                    self._tally.lost(f"broken JSON at character {self._passed + self._at} ({reason}); the rest was not read")
                    return None
                wanted *= 2

    def _more(self, wanted: int) -> bool:
        """Read on, and let go of what is behind us. False at the end."""
        self._passed += self._at
        parts, self._at = [self._text[self._at:]], 0
        read = 0
        while read < wanted and not self._ended:
            chunk = next(self._chunks, b"")
            self._ended = not chunk
            parts.append(self._decoder.decode(chunk, final=self._ended))
            read += len(parts[-1])
        self._text = "".join(parts)
        return read > 0


def _nothing(_text: str) -> int:
    return 0


def _utf8(file: BinaryIO) -> Iterator[bytes]:
    """The content as UTF-8 without its byte order mark, in pieces of about a megabyte."""
    chunk = file.read(_CHUNK)
    encoding = _encoding(chunk)
    if encoding == "utf-8":
        chunk = chunk.removeprefix(codecs.BOM_UTF8)
        while chunk:
            yield chunk
            chunk = file.read(_CHUNK)
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    mark = True
    while chunk:
        text = decoder.decode(chunk)
        if mark:
            text, mark = text.removeprefix("\ufeff"), False
        if text:
            yield text.encode("utf-8", "replace")
        chunk = file.read(_CHUNK)
    if text := decoder.decode(b"", final=True):
        yield text.encode("utf-8", "replace")


def _encoding(start: bytes) -> str:
    for mark, encoding in (
        (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
        (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if start.startswith(mark):
            return encoding
    return "utf-8"
