"""Rules of files, folders and zips, read and compiled for commands that need no data folder."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from soc.detect.assembly import Member, RuleSet, assemble
from soc.detect.lists import read_lists
from soc.detect.packs import read_pack
from soc.detect.rules import FoundRule, read_rules
from soc.errors import InputRefused, RuleError

__all__ = ["Loaded", "load_rules", "together"]


@dataclass(slots=True)
class Loaded:
    """Rules of some files, what is wrong with others, and what is no rule."""

    rules: list[FoundRule] = field(default_factory=list)
    faults: list[RuleError] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def load_rules(paths: Sequence[Path], lists: Path | None = None) -> Loaded:
    """Read and compile every rule of these files, folders and zips. A file that was named must be a rule.

    Placeholders are filled from the files of the folder `lists`.
    """
    known, faults = read_lists(lists)
    loaded = Loaded(faults=faults)
    seen: dict[str, str] = {}
    for path in paths:
        try:
            pack = read_pack(path)
        except InputRefused as refused:
            loaded.faults.append(RuleError(refused.message, path=str(path), remedy=refused.remedy))
            continue
        loaded.skipped += [(f"{path}/{name}", reason) for name, reason in pack.skipped]
        for file in pack.files:
            shown = f"{path}/{file.path}" if pack.whole else str(path)
            rules, faults, skipped = read_rules(shown, file.data, known)
            loaded.faults += faults
            if pack.whole:
                loaded.skipped += [(shown, reason) for reason in skipped]
            else:
                loaded.faults += [RuleError(reason, path=shown, line=1) for reason in skipped]
            for rule in rules:
                if rule.rule_id in seen:
                    loaded.faults.append(RuleError(
                        f"its id {rule.rule_id} is already that of {seen[rule.rule_id]}", path=shown, line=rule.line))
                else:
                    seen[rule.rule_id] = shown
                    loaded.rules.append(rule)
    return loaded


def together(loaded: Loaded) -> tuple[RuleSet, list[RuleError]]:
    """These rules as one rule set, and what correlations and filters among them miss, with file and line."""
    found = assemble(Member(one.rule_id, one.name, one.kind, "", one.path, one.rule is not None, one.rule) for one in loaded.rules)
    places = {one.rule_id: one for one in loaded.rules}
    return found, [RuleError(reason, path=places[rule_id].path, line=places[rule_id].line)
                   for rule_id, reasons in found.faults.items() for reason in reasons]
