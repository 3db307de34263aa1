"""How an import shows itself: a bar on a terminal, plain lines in a pipe; refusals are said at once and loudly."""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from soc.commands.output import inert, say
from soc.ingest.imports import REFUSED, ImportFile

__all__ = ["Bar", "Lines", "Note"]


class Bar:
    """A progress bar with rate, remaining time and errors. Use as a context manager."""

    def __init__(self, total: int, clock: Callable[[], float]) -> None:
        """`total` in bytes of input; `clock` in seconds."""
        self._clock, self._began = clock, 0.0
        self._records = self._known = self._errors = 0
        self._from = self._upto = 0
        self._said = ""
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[counts]}", markup=False), console=Console(stderr=True, highlight=False), transient=True,
        )
        self._task = self._progress.add_task("", total=max(total, 1), counts="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def begun(self, import_id: str) -> None:
        """Nothing is shown of it."""

    def file(self, name: str, upto: int) -> None:
        """A file is taken up that ends at byte `upto` of the input."""
        self._began = self._began or self._clock()
        self._from, self._upto = self._upto, upto
        self._said = ""
        self._show(self._from, inert(name))

    def sent(self, new: int, duplicates: int, share: float) -> None:
        """A batch was acknowledged."""
        self._records += new
        self._known += duplicates
        self._said = ""
        self._show(int(self._from + share * (self._upto - self._from)))

    def ended(self, file: ImportFile) -> None:
        """A file is done."""
        self._errors += file.bad + (file.state == REFUSED)
        if file.state == REFUSED or file.bad:
            self._progress.console.print(Text.assemble((_word(file), "bold red"), " ", inert(f"{file.name}: {file.reason}")))
        self._show(self._upto)

    def waiting(self, reason: str, seconds: float) -> None:
        """The gateway is away or full; the next try is in `seconds`."""
        self._said = f"waiting {seconds:.1f} s: {reason}"
        self._show(None)

    def judging(self, stored: int, dead: int) -> None:
        """Everything is delivered; these many are stored."""
        self._progress.update(self._task, description="evaluating", counts=f"{stored:,} stored, {dead:,} dead letters")

    def _show(self, done: int | None, name: str = "") -> None:
        rate = self._records / max(self._clock() - self._began, 0.001)
        counts = f"{self._records:,} records, {rate:,.0f}/s, {self._errors} errors {self._said}".rstrip()
        if name:
            self._progress.update(self._task, description=name if len(name) <= 40 else "…" + name[-39:])
        if done is not None:
            self._progress.update(self._task, completed=done)
        self._progress.update(self._task, counts=counts)


class Lines:
    """Plain lines: refusals and damage as they happen, a line of counts every few seconds."""

    def __init__(self, clock: Callable[[], float], every: float = 5.0) -> None:
        """`clock` in seconds; a line of counts comes at most each `every` seconds."""
        self._clock, self._every = clock, every
        self._began, self._last = 0.0, clock()
        self._records = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def begun(self, import_id: str) -> None:
        """Nothing is said of it."""

    def file(self, name: str, upto: int) -> None:
        """Files are not announced; the first starts the clock of the rate."""
        self._began = self._began or self._clock()

    def sent(self, new: int, duplicates: int, share: float) -> None:
        """A batch was acknowledged."""
        self._records += new
        self._now_and_then(f"{self._records:,} records, {self._records / max(self._clock() - self._began, 0.001):,.0f}/s")

    def ended(self, file: ImportFile) -> None:
        """A file is done."""
        if file.state == REFUSED or file.bad:
            say(f"{_word(file)} {file.name}: {file.reason}")

    def waiting(self, reason: str, seconds: float) -> None:
        """The gateway is away or full."""
        self._now_and_then(f"waiting for the gateway: {reason}")

    def judging(self, stored: int, dead: int) -> None:
        """Everything is delivered; these many are stored."""
        self._now_and_then(f"evaluating: {stored:,} stored, {dead:,} dead letters")

    def _now_and_then(self, text: str) -> None:
        if self._clock() - self._last >= self._every:
            self._last = self._clock()
            say(text)


class Note:
    """A file that says how far an import is, for the console: JSON, replaced as a whole, at most twice a second."""

    def __init__(self, path: Path, total: int, clock: Callable[[], float], every: float = 0.5) -> None:
        """`total` in bytes of input; `clock` in seconds."""
        self._path, self._total, self._clock, self._every = path, max(total, 1), clock, every
        self._last = -every
        self._from = self._upto = 0
        self._facts: dict[str, object] = {
            "id": "", "stage": "reading", "file": "", "records": 0, "known": 0, "errors": 0, "share": 0.0, "stored": 0, "dead_letters": 0}

    def __enter__(self) -> Note:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._write(at_once=True)

    def begun(self, import_id: str) -> None:
        """The import has its id."""
        self._facts["id"] = import_id
        self._write(at_once=True)

    def file(self, name: str, upto: int) -> None:
        """A file is taken up that ends at byte `upto` of the input."""
        self._from, self._upto = self._upto, upto
        self._facts["file"] = name
        self._write()

    def sent(self, new: int, duplicates: int, share: float) -> None:
        """A batch was acknowledged."""
        self._add("records", new)
        self._add("known", duplicates)
        self._facts |= {"stage": "reading", "share": min(1.0, (self._from + share * (self._upto - self._from)) / self._total)}
        self._write()

    def ended(self, file: ImportFile) -> None:
        """A file is done."""
        self._add("errors", file.bad + (file.state == REFUSED))
        self._write()

    def waiting(self, reason: str, seconds: float) -> None:
        """The gateway is away or full."""
        self._facts["stage"] = "waiting"
        self._write()

    def judging(self, stored: int, dead: int) -> None:
        """Everything is delivered; these many are stored."""
        self._facts |= {"stage": "judging", "share": 1.0, "stored": stored, "dead_letters": dead}
        self._write()

    def _add(self, name: str, number: int) -> None:
        self._facts[name] = int(str(self._facts[name])) + number

    def _write(self, *, at_once: bool = False) -> None:
        if not at_once and self._clock() - self._last < self._every:
            return
        self._last = self._clock()
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self._facts), "utf-8")
        part.replace(self._path)


def _word(file: ImportFile) -> str:
    return "refused" if file.state == REFUSED else "damaged"
