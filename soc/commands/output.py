"""How commands speak: rows as a table or JSON on stdout, everything else on stderr."""
from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

__all__ = ["as_json_text", "fail", "inert", "many", "quiet", "say", "show", "show_records"]

_MAX_CELL = 400
_ALIGNED = 60
"""The widest that a column in a pipe is made for its longest value."""
_STYLES = {
    "ok": "green", "enabled": "green", "warn": "yellow", "fail": "bold red", "damaged": "bold red", "refused": "red",
    "critical": "bold red", "high": "red", "medium": "yellow",
}
_ESCAPED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
"""What JSON may hold as it is, and a terminal or a reader's eye would take for more than text."""
_quiet = False


def show(
    rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, as_json: bool, title: str = "", empty: str = "",
) -> None:
    """Print rows: a table of `columns`, or (as_json) one JSON array with every key of every row.

    In the table values lose control characters and stand as text, never as markup; in a pipe nothing is
    coloured, no cell is cut and a row is a line. `empty` is said on stderr when there are no rows.
    """
    if as_json:
        quiet()
        sys.stdout.write(as_json_text([dict(row) for row in rows], indent=1) + "\n")
        return
    if not rows:
        say(empty or "Nothing to show.")
        return
    if not sys.stdout.isatty():
        sys.stdout.write("".join(line + "\n" for line in _lines(rows, columns, title)))
        return
    console = Console(highlight=False)
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold cyan")
    for column in columns:
        numeric = all(isinstance(row.get(column), int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_styled(_cell(row.get(column))) for column in columns))
    console.print(table)


def show_records(rows: Sequence[Mapping[str, object]], heads: Sequence[str], body: str, *, empty: str) -> None:
    """Print records whose `body` is long: on a terminal a line of `heads` each and two of the body, elsewhere as `show`."""
    if not sys.stdout.isatty() or not rows:
        show(rows, [*heads, body], as_json=False, empty=empty)
        return
    console = Console(highlight=False, soft_wrap=True)
    for row in rows:
        console.print(Text("  ".join(_cell(row.get(name)) for name in heads), "bold cyan"))
        text = " ".join(_cell(row.get(body)).split())
        most = 2 * max(20, console.width - 4)
        for line in Text(text if len(text) < most else text[: most - 1] + "…").wrap(console, max(20, console.width - 4))[:2]:
            console.print("  ", line, sep="")


def as_json_text(value: object, indent: int | None = None) -> str:
    """JSON that a terminal shows as it is: what it would act on, or an eye misread, is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=_plain)
    return _ESCAPED.sub(lambda found: "".join(f"\\u{ord(c):04x}" for c in found[0]), text)


def fail(message: str, remedy: str = "", code: int = 1) -> NoReturn:
    """Say on stderr what failed and what to do about it, then leave with `code`. Raises typer.Exit."""
    import typer

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error:[/] {escape(inert(message))}")
    if remedy:
        console.print(f"  [yellow]→[/] {escape(inert(remedy))}")
    raise typer.Exit(code)


def say(message: str) -> None:
    """A line for people, on stderr; nothing once `quiet()` was called (under --json)."""
    if not _quiet:
        Console(stderr=True, highlight=False, soft_wrap=True).print(escape(inert(message)))


def quiet(on: bool = True) -> None:
    """Say no more on stderr than errors, until the command ends: call it first thing under --json."""
    global _quiet
    _quiet = on


def many(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: 1 rule, 3,780 rules."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def inert(text: str) -> str:
    """`text` without anything that a terminal would act on; tabs and newlines stay."""
    return "".join(c if c in "\n\t" or (c.isprintable() and not _bidi(c)) else f"\\x{ord(c):02x}" for c in text)


def _bidi(char: str) -> bool:
    return char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"


def _lines(rows: Sequence[Mapping[str, object]], columns: Sequence[str], title: str) -> Iterator[str]:
    """A table for a pipe. Columns stand below each other as far as their values are short; a long one moves only its own line."""
    if title:
        yield title
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    right = [all(isinstance(row.get(column), int | float) for row in rows) for column in columns]
    widths = [min(_ALIGNED, max(cell_len(line[at]) for line in [list(columns), *cells])) for at in range(len(columns))]
    for line in [list(columns), *cells]:
        padded = [" " * (width - cell_len(cell)) + cell if numeric else cell + " " * (width - cell_len(cell))
                  for cell, width, numeric in zip(line, widths, right, strict=True)]
        yield "  ".join(padded).rstrip()


def _styled(text: str) -> Text:
    return Text(text, _STYLES.get(text, ""))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(_cell(item) for item in value)
    text = inert(str(value).replace("\r\n", "\n")).replace("\n", " ")
    return text if len(text) <= _MAX_CELL or not sys.stdout.isatty() else text[: _MAX_CELL - 1] + "…"


def _plain(value: object) -> object:
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)
