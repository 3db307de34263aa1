"""Lists that an administrator keeps for the placeholders of rules (``field|expand: '%Servers%'``), as files of one folder.

A `.yml` file holds ``name: [values]`` for any number of lists; a `.txt` file is one list, called as the file, one value a
line (# begins a comment). Names have no case. Values may hold wildcards, as in rules (specification, Placeholders).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from soc.config import Config
from soc.detect.yamltext import MAX_BYTES, read_documents
from soc.errors import RuleError

__all__ = ["MAX_VALUES", "Lists", "kept_folders", "read_lists"]

Lists = Mapping[str, Sequence[str]]
"""Values by the list's name, case-folded."""

MAX_VALUES: Final = 10_000
"""Values of one list."""


def kept_folders(config: Config, data: Path) -> tuple[Path, Path]:
    """Where the lists and the field mappings of this centre lie."""
    lists, mappings = config.rules.lists, config.rules.mappings
    return Path(lists) if lists else data / "lists", Path(mappings) if mappings else data / "mappings"


def read_lists(folder: Path | None) -> tuple[Lists, list[RuleError]]:
    """Every list of a folder, and what is wrong with files of it (those are left out). A missing folder holds none."""
    found: dict[str, Sequence[str]] = {}
    faults: list[RuleError] = []
    owners: dict[str, str] = {}
    for path in sorted(folder.iterdir()) if folder is not None and folder.is_dir() else ():
        if path.name.startswith(".") or path.suffix.lower() not in (".yml", ".yaml", ".txt"):
            continue
        try:
            lists = _read(path)
        except RuleError as error:
            faults.append(RuleError(error.message, path=str(path), line=error.line, remedy=error.remedy))
            continue
        for name, (values, line) in lists.items():
            key = name.casefold()
            if key in owners:
                faults.append(RuleError(f"the list {name!r} is already in {owners[key]}", path=str(path), line=line))
                continue
            owners[key] = path.name
            if values:
                found[key] = values
    return found, faults


def _read(path: Path) -> dict[str, tuple[Sequence[str], int]]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RuleError(error.strerror or str(error)) from None
    return _text(path, data) if path.suffix.lower() == ".txt" else _yaml(data)


def _text(path: Path, data: bytes) -> dict[str, tuple[Sequence[str], int]]:
    if len(data) > MAX_BYTES:
        raise RuleError(f"a file of lists may have {MAX_BYTES} bytes", remedy="split the list")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise RuleError(f"not UTF-8 at byte {error.start}", line=data.count(b"\n", 0, error.start) + 1) from None
    values = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return {path.stem: (_bounded(path.stem, values, 1), 1)}


def _yaml(data: bytes) -> dict[str, tuple[Sequence[str], int]]:
    found: dict[str, tuple[Sequence[str], int]] = {}
    for document in read_documents(data):
        if not isinstance(document.value, dict):
            raise RuleError("lists are written name: [values]", line=document.line)
        for name, written in document.value.items():
            line = document.lines.get((name,), document.line)
            values = written if isinstance(written, list) else [] if written is None else [written]
            wrong = next((one for one in values if not isinstance(one, str | int | float) or isinstance(one, bool) or one == ""), None)
            if wrong is not None:
                raise RuleError(f"{name}: {wrong!r} is no value of a list", line=line, remedy="write texts or numbers")
            found[name] = _bounded(name, [str(one) for one in values], line), line
    return found


def _bounded(name: str, values: list[str], line: int) -> Sequence[str]:
    if len(values) > MAX_VALUES:
        raise RuleError(f"{name}: {len(values)} values; a list may have {MAX_VALUES}", line=line)
    return tuple(dict.fromkeys(values))
