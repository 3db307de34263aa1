"""An import from start to end: walk the inputs, number each content, cut batches, deliver them, keep what became of it.

Everything it needs is given to it; nothing here knows of terminals, sockets or configuration.
"""
from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, BinaryIO, Protocol, cast

from collectors.archive import Kind, Left, LogFile
from collectors.evtx import read_evtx
from collectors.lines import Tally, ends_whole, read_json, read_lines
from soc.errors import InputRefused, StoreError
from soc.event import UNASSIGNED, Scope
from soc.ingest.content import Content, measure
from soc.ingest.deliver import Delivery, Shipment, cut
from soc.ingest.imports import (
    DONE,
    DUPLICATE,
    FAILED,
    INTERRUPTED,
    READ,
    READING,
    REFUSED,
    SKIPPED,
    Import,
    ImportFile,
    ImportStore,
    Plan,
)

__all__ = ["Importer", "Judged", "NoReport", "Options", "Outcome", "Report", "survey"]

_READERS: dict[Kind, Callable[[BinaryIO, Tally], Iterator[bytes]]] = {
    Kind.EVTX: read_evtx, Kind.LINES: read_lines, Kind.JSON: read_json,
}
_LEFT_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Options:
    """How the records of an import are to be understood; empty means: as each shows, else the centre's default."""

    agency: str = UNASSIGNED
    format: str = "auto"
    timezone: str = ""
    year: int | None = None

    def kept(self) -> dict[str, Any]:
        """What the import remembers of them."""
        return {"format": self.format, "timezone": self.timezone, "year": self.year}


class Report(Protocol):
    """Hears how an import goes; `share` is how much of the current file is done, 0 to 1."""

    def begun(self, import_id: str) -> None: ...

    def file(self, name: str, upto: int) -> None: ...

    def sent(self, new: int, duplicates: int, share: float) -> None: ...

    def ended(self, file: ImportFile) -> None: ...


class Judged(Protocol):
    """How far an import is: (events stored, dead letters, whether every record was stored and evaluated)."""

    def __call__(self, import_id: str, records: int, /) -> tuple[int, int, bool]: ...


class NoReport:
    """A report that nobody reads."""

    def begun(self, import_id: str) -> None:
        """Nothing."""

    def file(self, name: str, upto: int) -> None:
        """Nothing."""

    def sent(self, new: int, duplicates: int, share: float) -> None:
        """Nothing."""

    def ended(self, file: ImportFile) -> None:
        """Nothing."""


@dataclass(slots=True)
class Outcome:
    """What an import brought. `records` are new to the centre, `duplicates` were known; `left` is everything not taken.

    `continued` records went to other imports that had been interrupted; `touched` are all imports that got records.
    """

    import_id: str = ""
    state: str = DONE
    read: int = 0
    refused: int = 0
    skipped: int = 0
    records: int = 0
    duplicates: int = 0
    bad: int = 0
    cut: int = 0
    note: str = ""
    continued: int = 0
    touched: set[str] = field(default_factory=set)
    left: list[ImportFile] = field(default_factory=list)

    def add(self, file: ImportFile) -> None:
        """Count a file that ended."""
        self.records += file.sent
        self.duplicates += file.duplicates
        self.bad += file.bad
        self.cut += file.cut
        if file.state == REFUSED:
            self.refused += 1
        elif file.state == SKIPPED:
            self.skipped += 1
        else:
            self.read += 1
        if file.state in (REFUSED, SKIPPED):
            self.left.append(file)


class Importer:
    """Runs one import. `now` is its start in microseconds since 1970 UTC: the read time of every content new to us."""

    def __init__(self, *, store: ImportStore, delivery: Delivery, options: Options, report: Report | None = None) -> None:
        self._store, self._delivery, self._options = store, delivery, options
        self._report: Report = report or NoReport()
        self._waiting: list[ImportFile] = []
        self._reading: ImportFile | None = None
        self._outcome = Outcome()
        self._now = 0

    def run(
        self, found: Iterable[LogFile | Left], *, actor: str, inputs: Sequence[str], now: int, clock: Callable[[], int],
        pid: int = 0, alive: Callable[[Import], bool] = lambda _: True,
    ) -> Outcome:
        """Import everything of a walk; an interrupted import of the same `inputs` and options is gone on with.

        `clock` gives the time of its end; `alive` tells whether another import that says it runs really does. Raises
        KeyboardInterrupt and SocError of the gateway again, after everything is written down.
        """
        options = {**self._options.kept(), "inputs": list(inputs[:100]), "pid": pid}
        agency = self._options.agency
        made = self._store.resume(agency=agency, options=options, now=now, alive=alive) or self._store.begin(
            actor=actor, agency=agency, now=now, options=options)
        outcome = self._outcome = Outcome(made.id)
        self._report.begun(made.id)
        self._now = now
        try:
            for each in found:
                if isinstance(each, Left):
                    self._left(each)
                else:
                    self._take(each)
            outcome.state = DONE if outcome.read else FAILED
            outcome.note = "" if outcome.read else "nothing could be read"
        except (KeyboardInterrupt, StoreError) as fault:
            outcome.state, outcome.note = INTERRUPTED, str(fault) or "stopped by the user"
            raise
        except BaseException as fault:
            outcome.state, outcome.note = FAILED, f"{type(fault).__name__}: {fault}"[:500]
            raise
        finally:
            if self._reading is not None:
                self._store.end_file(self._reading)
            self._store.left(self._waiting)
            self._store.end(made.id, outcome.state, clock(), outcome.note)
        return outcome

    def _left(self, left: Left) -> None:
        file = ImportFile(self._outcome.import_id, _storable(left.name), REFUSED if left.refused else SKIPPED, left.reason)
        self._waiting.append(file)
        if len(self._waiting) >= _LEFT_AT_ONCE:
            self._store.left(self._waiting)
            self._waiting = []
        self._outcome.add(file)
        self._report.ended(file)

    def _take(self, log: LogFile) -> None:
        """Import one file. A file that turns out to be unreadable is refused; the import goes on."""
        self._report.file(log.name, log.upto)
        try:
            content = measure(log.file, self._store.lengths)
        except OSError as fault:
            self._left(Left(log.name, f"cannot be read: {fault.strerror or fault}", refused=True))
            return
        self._content(log, content)

    def _content(self, log: LogFile, content: Content) -> None:
        """Import a content: its beginning first where another import left that unfinished or was undone, then its own part."""
        plan = self._plan(log, content)
        if plan.before is not None:
            self._content(log, _beginning(content, plan.before))
            plan = self._plan(log, content)
        owner = plan.owner
        if owner is None:
            fresh = ImportFile(
                self._outcome.import_id, _storable(log.name), READING, _continues(plan), log.kind.value, content.size,
                content.sha256, content.head, content.sha256, plan.base, plan.read_at, log.file_time, plan.start)
            self._ended(self._read(self._store.begin_file(fresh), self._options, log, counted=True))
        elif owner.import_id == self._outcome.import_id and owner.name == _storable(log.name):
            self._ended(self._read(replace(owner, state=READING), self._options, log, counted=owner.state == READ))
        else:
            self._owned(owner, log)

    def _owned(self, owner: ImportFile, log: LogFile) -> None:
        """A content that another file owns: go over it in its owner's name (what is known is known), list it as a duplicate."""
        of = self._store.get(owner.import_id, Scope.everything())
        options = Options(of.agency, str(of.options["format"]), str(of.options["timezone"]), of.options["year"])
        if owner.state == READING and options != self._options:
            self._left(Left(log.name, f"import {of.id} has begun it for {of.agency} with other options; "
                            f"continue that, or take it back: soc import undo {of.id}", refused=True))
            return
        before = owner.sent
        done = self._read(replace(owner, state=READING), options, log, counted=owner.state == READ)
        if done.state == REFUSED:
            self._ended(done)
            return
        self._outcome.touched.add(of.id)
        brought = max(0, done.sent - before) if of.id != self._outcome.import_id else 0
        where = f"its content is that of {owner.name}" + ("" if of.id == self._outcome.import_id else f", import {of.id}")
        duplicate = replace(
            done, id=0, import_id=self._outcome.import_id, name=_storable(log.name), state=DUPLICATE, sent=0,
            duplicates=done.records - done.start - brought, bad=0, cut=0,
            reason=where + (f"; {brought:,} records that were missing went there" if brought else ""))
        self._waiting.append(duplicate)
        self._outcome.continued += brought
        self._outcome.add(duplicate)
        self._report.ended(duplicate)

    def _read(self, file: ImportFile, options: Options, log: LogFile, *, counted: bool) -> ImportFile:
        """Read a file from its `start` and deliver; gives it back as it ended, written down.

        Not `counted`: it was interrupted before, and whatever of its stream was received is its own.
        """
        earlier, self._reading = file, replace(file, sent=0, duplicates=0)
        tally = Tally()
        window = cast(BinaryIO, Window(log.file, file.bytes))
        records = _Counted(_readable(_READERS[log.kind](window, tally)))
        fault_text = ""
        try:
            for _ in islice(records, file.start):
                pass
            self._deliver(file, options, log, records, window)
            ended = replace(self._reading, records=records.count)
            if not counted or earlier.sent:
                new = max(earlier.sent, records.count - file.start)
                ended = replace(ended, sent=new, duplicates=0)
            state = DUPLICATE if ended.duplicates and not ended.sent else READ
        except InputRefused as fault:
            if not isinstance(fault.__cause__, _Unreadable):
                raise
            ended, state, fault_text = replace(self._reading, stream=""), REFUSED, fault.message
        reasons = [each for each in (fault_text, file.reason, *tally.faults[:5]) if each]
        ended = replace(ended, state=state, bad=tally.bad, cut=tally.cut, reason="; ".join(dict.fromkeys(reasons))[:2000])
        self._store.end_file(ended)
        self._reading = None
        return ended

    def _deliver(
        self, file: ImportFile, options: Options, log: LogFile, records: Iterable[bytes], window: BinaryIO,
    ) -> None:
        shipment = Shipment(
            file.stream, file.import_id, file.read_at, options.agency, options.format, options.timezone, options.year,
            log.name, log.file_time)
        first = file.start
        for batch in cut(records):
            done = self._delivery.send(shipment, first, batch)
            first += len(batch)
            assert self._reading is not None
            self._reading = replace(
                self._reading, sent=self._reading.sent + done.new, duplicates=self._reading.duplicates + done.duplicates)
            self._report.sent(done.new, done.duplicates, min(1.0, window.tell() / file.bytes) if file.bytes else 1.0)

    def _ended(self, file: ImportFile) -> None:
        if file.state != REFUSED and file.sent:
            self._outcome.touched.add(file.import_id)
        self._outcome.add(file)
        self._report.ended(file)

    def _plan(self, log: LogFile, content: Content) -> Plan:
        return _plan(self._store, log, content, self._now)


def survey(found: Iterable[LogFile | Left], store: ImportStore, now: int) -> Iterator[ImportFile]:
    """What an import would do, file by file, without sending anything."""
    for each in found:
        name = _storable(each.name)
        if isinstance(each, Left):
            yield ImportFile("", name, REFUSED if each.refused else SKIPPED, each.reason)
            continue
        try:
            content = measure(each.file, store.lengths)
            plan = _plan(store, each, content, now)
            tally, window = Tally(), cast(BinaryIO, Window(each.file, content.size))
            count = sum(1 for _ in _READERS[each.kind](window, tally))
        except (OSError, InputRefused) as fault:
            yield ImportFile("", name, REFUSED, f"cannot be read: {fault}", each.kind.value)
            continue
        known = plan.owner is not None and plan.owner.state == READ
        reason = "; ".join(text for text in (_continues(plan), *tally.faults[:5]) if text)
        yield ImportFile(
            "", name, DUPLICATE if known else READ, reason, each.kind.value, content.size, content.sha256, content.head,
            content.sha256, plan.base, plan.read_at, each.file_time, plan.start, count, bad=tally.bad, cut=tally.cut)


def _plan(store: ImportStore, log: LogFile, content: Content, now: int) -> Plan:
    plan = store.plan(content, grows=log.kind is not Kind.EVTX, now=now)
    if plan.head is not None and plan.start and not ends_whole(log.file, plan.head.bytes):
        return replace(plan, start=plan.start - 1)  # its last line was unfinished; whole, it comes again under our stream
    return plan


def _beginning(content: Content, before: ImportFile) -> Content:
    """The first bytes of a content, as the content that an earlier import knew."""
    shorter = {size: digest for size, digest in content.prefixes.items() if size < before.bytes}
    return Content(before.sha256, before.bytes, before.head, (), shorter)


def _continues(plan: Plan) -> str:
    if plan.head is not None:
        return f"goes on after the {plan.head.bytes:,} bytes of {plan.head.name}, import {plan.head.import_id}"
    return f"its content is that of {plan.owner.name}, import {plan.owner.import_id}" if plan.owner is not None else ""


def _storable(name: str) -> str:
    """A name as text that every database takes."""
    return name.encode("utf-8", "replace").decode().replace("\0", "\ufffd")[:2000]


class _Unreadable(Exception):
    """Marks a refusal by a reader, apart from one by the gateway."""


def _readable(records: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from records
    except InputRefused as fault:
        raise InputRefused(fault.message, remedy=fault.remedy) from _Unreadable()


class _Counted:
    """Records, counted as they pass."""

    def __init__(self, records: Iterator[bytes]) -> None:
        self._records = records
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        record = next(self._records)
        self.count += 1
        return record


class Window(io.RawIOBase):
    """The first `size` bytes of a file: what was measured, even if it has grown since."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of a file that ends at `size`."""
        if whence == io.SEEK_END:
            return self._file.seek(self._size + offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where the next read begins."""
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes, all that are left without it."""
        left = max(0, self._size - self._file.tell())
        return self._file.read(left if size is None or size < 0 else min(size, left))
