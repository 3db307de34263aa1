"""The rules in the state database: packs imported whole, each rule with its source and compiled form, on or off.

The detector reads `enabled()` when `version()` changes; nothing here needs pySigma but an import.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, case, delete, func, insert, or_, select, update

from soc.database import Database
from soc.detect.assembly import Member, RuleSet, assemble
from soc.detect.compiled import FORMAT, CompiledRule, LogSource
from soc.detect.lists import read_lists
from soc.detect.packs import PackFile, read_pack
from soc.detect.readiness import why_not
from soc.detect.refill import refill, waits_for
from soc.detect.rulesets import note_set, version_now
from soc.detect.ruletables import REFUSALS, RULES
from soc.errors import NotFoundError, RuleError
from soc.event import Event

__all__ = ["OFF_BY_IMPORT", "OFF_BY_PERSON", "PackReport", "Refusal", "RuleRow", "RuleStore", "entity_by_default", "entity_of"]

OFF_BY_PERSON: Final = "switched off"
OFF_BY_IMPORT: Final = "imported with --off"

_LEVEL_ORDER: Final = {"critical": 0, "high": 1, "medium": 2, "low": 3, "informational": 4}


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule, correlation or filter (`kind`) as lists show it; `why_not` says why it cannot fire here ("" if it can).

    `imported` is µs UTC.
    """

    rule_id: str
    pack: str
    path: str
    line: int
    version: str
    title: str
    level: str
    status: str
    author: str
    product: str
    category: str
    service: str
    tags: tuple[str, ...]
    entity: str
    enabled: bool
    reason_off: str
    imported: int
    kind: str
    name: str
    why_not: str

    @property
    def can_fire(self) -> bool:
        """Whether any source here sends the events it asks for."""
        return not self.why_not


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rule that was not taken: pack, file, line (0 unknown), reason, and when (µs UTC)."""

    pack: str
    path: str
    line: int
    reason: str
    at: int


@dataclass(slots=True)
class PackReport:
    """What an import did. `off` counts rules left switched off, `placeholders` those of them that need a list.

    `filled` counts rules of any pack that changed because their lists did.
    """

    pack: str
    version: str = ""
    files: int = 0
    rules: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    enabled: int = 0
    off: int = 0
    placeholders: int = 0
    filled: int = 0
    cannot_fire: int = 0
    refused: list[RuleError] = field(default_factory=list)
    waiting: list[RuleError] = field(default_factory=list)
    """Correlations and filters of this pack that speak of rules that are not loaded, or otherwise do not run yet."""
    skipped: list[tuple[str, str]] = field(default_factory=list)


_Rules = list[RuleRow]
_Refusals = list[Refusal]


class RuleStore:
    """All rules of a centre. `lists` is the folder of lists that placeholders are filled from; it is read at each change."""

    def __init__(self, database: Database, lists: Path | None = None) -> None:
        self._database = database
        self._lists = lists

    @property
    def database(self) -> Database:
        """Where they are kept: the ledger of what they have seen is there too."""
        return self._database

    def import_pack(self, path: Path, *, now: int, off: bool = False, name: str = "",
                    progress: Callable[[int, int], None] | None = None) -> PackReport:
        """Take a pack in: everything it holds is switched on, unless `off`, or it needs a placeholder's list.

        A pack of the same name is replaced as a whole; rules that a person switched off stay off. `progress` gets
        (files done, of all). Raises InputRefused for a pack that is refused as a whole: then nothing has changed.
        """
        from soc.detect.rules import FoundRule, read_rules

        pack = read_pack(path)
        lists, faults = read_lists(self._lists)
        report = PackReport(name or pack.name, files=len(pack.files), refused=faults, skipped=pack.skipped)
        found: dict[str, FoundRule] = {}
        for number, file in enumerate(pack.files):
            self._read(file, found, report, partial(read_rules, lists=lists))
            if progress is not None:
                progress(number + 1, len(pack.files))
        with self._database.write() as connection:
            self._store(connection, report, found, pack.whole or bool(name), off, now)
            report.filled = refill(connection, RULES, lists)
            report.version = _renew(connection, now)
        missing = self.load().faults
        report.waiting = [
            RuleError(reason, path=rule.path, line=rule.line) for rule in found.values() for reason in missing.get(rule.rule_id, ())]
        return report

    @staticmethod
    def _read(file: PackFile, found: dict[str, Any], report: PackReport, read_rules: Any) -> None:
        rules, faults, skipped = read_rules(file.path, file.data)
        report.refused += faults
        report.skipped += [(file.path, reason) for reason in skipped]
        for rule in rules:
            other = found.get(rule.rule_id)
            if other is not None:
                report.refused.append(
                    RuleError(f"its id {rule.rule_id} is already that of {other.path}", path=rule.path, line=rule.line))
            else:
                found[rule.rule_id] = rule

    def _store(self, c: Connection, report: PackReport, found: dict[str, Any], whole: bool, off: bool, now: int) -> None:
        columns = (RULES.c.rule_id, RULES.c.pack, RULES.c.path, RULES.c.version, RULES.c.enabled, RULES.c.reason_off)
        known = {row.rule_id: row for row in c.execute(select(*columns)).all()}
        rows: list[dict[str, Any]] = []
        for rule in list(found.values()):
            old = known.get(rule.rule_id)
            if old is not None and old.pack != report.pack:
                if old.version != rule.version:
                    report.refused.append(RuleError(
                        f"its id {rule.rule_id} belongs to {old.path} of pack {old.pack}", path=rule.path, line=rule.line,
                        remedy="give the copy an id of its own"))
                else:
                    report.skipped.append((rule.path, f"the same rule is in pack {old.pack}"))
                del found[rule.rule_id]
                continue
            reason = rule.off
            if old is not None and old.reason_off == OFF_BY_PERSON:
                reason = OFF_BY_PERSON
            elif off and (old is None or not old.enabled):
                reason = OFF_BY_IMPORT
            report.added += old is None
            report.changed += old is not None and old.version != rule.version
            report.unchanged += old is not None and old.version == rule.version
            rows.append(_row(rule, report.pack, reason, now))
        gone = [rule_id for rule_id, row in known.items() if whole and row.pack == report.pack and rule_id not in found]
        report.rules, report.removed = len(rows), len(gone)
        report.enabled = sum(row["enabled"] for row in rows)
        report.off = len(rows) - report.enabled
        report.placeholders = sum(bool(rule.off) for rule in found.values())
        report.cannot_fire = sum(rule.kind == "rule" and bool(why_not(rule.logsource)) for rule in found.values())
        self._write(c, report, rows, gone, whole, now)

    @staticmethod
    def _write(c: Connection, report: PackReport, rows: list[dict[str, Any]], gone: list[str], whole: bool, now: int) -> None:
        outgoing = [*gone, *(row["rule_id"] for row in rows)]
        for at in range(0, len(outgoing), 500):
            c.execute(delete(RULES).where(RULES.c.rule_id.in_(outgoing[at : at + 500])))
        if rows:
            c.execute(insert(RULES), rows)
        if whole:
            c.execute(delete(REFUSALS).where(REFUSALS.c.pack == report.pack))
        else:
            paths = {error.path for error in report.refused} | {row["path"] for row in rows}
            c.execute(delete(REFUSALS).where(REFUSALS.c.pack == report.pack, REFUSALS.c.path.in_(sorted(paths))))
        first = (c.execute(select(func.max(REFUSALS.c.number)).where(REFUSALS.c.pack == report.pack)).scalar() or 0) + 1
        if report.refused:
            c.execute(insert(REFUSALS), [
                {"pack": report.pack, "number": first + at, "path": error.path[:1024], "line": error.line,
                 "reason": f"{error.message} ({error.remedy})" if error.remedy else error.message, "at": now}
                for at, error in enumerate(report.refused)])

    def list(self, *, enabled: bool | None = None, level: str = "", product: str = "", pack: str = "", text: str = "",
             limit: int = 100, offset: int = 0) -> _Rules:
        """Rules by level (worst first), then title. `text` is looked for in title, id and path."""
        order = case(_LEVEL_ORDER, value=RULES.c.level, else_=9)
        query = select(*_SHOWN).order_by(order, RULES.c.title, RULES.c.rule_id).limit(limit).offset(offset)
        for condition in _conditions(enabled, level, product, pack, text):
            query = query.where(condition)
        with self._database.read() as c:
            rows = c.execute(query).all()
        faults = self.load().faults if any(row.kind != "rule" for row in rows) else {}
        return [_shown(row, faults) for row in rows]

    def count(self, *, enabled: bool | None = None, level: str = "", product: str = "", pack: str = "", text: str = "") -> int:
        """How many rules `list` would find without a limit."""
        query = select(func.count()).select_from(RULES)
        for condition in _conditions(enabled, level, product, pack, text):
            query = query.where(condition)
        with self._database.read() as c:
            return int(c.execute(query).scalar_one())

    def refusals(self, *, pack: str = "", limit: int = 1000) -> _Refusals:
        """What the last import of each pack refused, in the order of its files."""
        query = select(REFUSALS.c.pack, REFUSALS.c.path, REFUSALS.c.line, REFUSALS.c.reason, REFUSALS.c.at)
        query = query.order_by(REFUSALS.c.pack, REFUSALS.c.number).limit(limit)
        if pack:
            query = query.where(REFUSALS.c.pack == pack)
        with self._database.read() as c:
            return [Refusal(*row) for row in c.execute(query).all()]

    def show(self, rule_id: str) -> tuple[RuleRow, str]:
        """A rule and its source text. Raises NotFoundError."""
        with self._database.read() as c:
            row = c.execute(select(*_SHOWN, RULES.c.source).where(RULES.c.rule_id == rule_id)).first()
        if row is None:
            raise NotFoundError(f"there is no rule {rule_id}", remedy="`soc rules list` shows them")
        return _shown(row[:-1], {} if row.kind == "rule" else self.load().faults), row.source

    def sources(self, word: str) -> dict[str, str]:
        """Rule id -> source text of the rules whose source holds a word."""
        with self._database.read() as c:
            return {row.rule_id: row.source for row in c.execute(select(RULES.c.rule_id, RULES.c.source).where(RULES.c.source.contains(word)))}

    def enable(self, ids: Sequence[str], now: int) -> int:
        """Switch rules on; returns how many were off. Raises NotFoundError, RuleError (placeholder); all or none.

        Lists are read anew first: what they fill now is compiled, and rules that waited for nothing else are switched on too.
        """
        lists, faults = read_lists(self._lists)
        with self._database.write() as c:
            before = _on(c)
            refill(c, RULES, lists)
            for rule_id, runnable, _ in _chosen(c, ids):
                if not runnable:
                    where = f"put the list into {self._lists}" if self._lists else "write its values into a copy"
                    raise RuleError(f"rule {rule_id} cannot be switched on: {waits_for(c, RULES, rule_id, lists)}",
                                    remedy="; ".join([*map(str, faults), where]))
            _switch(c, ids, True, "")
            changed = _on(c) - before
            _renew(c, now)
            return changed

    def disable(self, ids: Sequence[str], now: int) -> int:
        """Switch rules off; returns how many were on. Raises NotFoundError; all or none."""
        with self._database.write() as c:
            _chosen(c, ids)
            changed = _switch(c, ids, False, OFF_BY_PERSON)
            _renew(c, now)
            return changed

    def remove(self, connection: Connection, ids: Sequence[str], pack: str, now: int) -> int:
        """Take these rules of a pack out, in the caller's transaction; returns how many there were."""
        gone = connection.execute(delete(RULES).where(RULES.c.rule_id.in_(ids), RULES.c.pack == pack)).rowcount
        if gone:
            connection.execute(delete(REFUSALS).where(REFUSALS.c.pack == pack))
            _renew(connection, now)
        return gone

    def enabled(self) -> Sequence[CompiledRule]:
        """Every rule that is on, compiled, with the filters that are on, by id."""
        return self.load().rules

    def load(self) -> RuleSet:
        """The rule set as it runs: rules, filters, correlations, every reference resolved."""
        return assemble(self.members())

    def members(self) -> Sequence[Member]:
        """All that is loaded, by id. What an older version compiled is compiled anew from its source."""
        columns = (RULES.c.rule_id, RULES.c.version, RULES.c.title, RULES.c.level, RULES.c.tags, RULES.c.product, RULES.c.category,
                   RULES.c.service, RULES.c.compiled, RULES.c.entity, RULES.c.format, RULES.c.kind, RULES.c.name, RULES.c.pack,
                   RULES.c.path, RULES.c.enabled)
        with self._database.read() as c:
            rows = c.execute(select(*columns).order_by(RULES.c.rule_id)).all()
        return [Member(row.rule_id, row.name, row.kind, row.pack, row.path, bool(row.enabled),
                       self._compiled(row) if row.compiled is not None else None) for row in rows]

    def _compiled(self, row: Any) -> CompiledRule:
        if row.format != FORMAT:
            from soc.detect.rules import read_rules

            anew = next((one.rule for one in read_rules(row.path, self._source(row.rule_id), read_lists(self._lists)[0])[0]
                         if one.rule is not None), None)
            if anew is not None:
                return CompiledRule(
                    row.rule_id, row.version, anew.title, anew.level, anew.tags, anew.logsource, anew.detection, anew.entity)
        return CompiledRule(row.rule_id, row.version, row.title, row.level, tuple(row.tags),
                            LogSource(row.product, row.category, row.service), row.compiled, row.entity)

    def _source(self, rule_id: str) -> bytes:
        with self._database.read() as c:
            text: str = c.execute(select(RULES.c.source).where(RULES.c.rule_id == rule_id)).scalar_one()
        return text.encode("utf-8", "surrogatepass")

    def titles(self, ids: Collection[str]) -> dict[str, str]:
        """Rule id -> title, of those that are there."""
        with self._database.read() as c:
            return {row.rule_id: row.title for row in c.execute(select(RULES.c.rule_id, RULES.c.title).where(RULES.c.rule_id.in_(list(ids))))}

    def known(self, ids: Sequence[str], *, enabled: bool = False) -> set[str]:
        """Which of these rules there are, on or off; with `enabled` only those that are on."""
        query = select(RULES.c.rule_id).where(RULES.c.enabled) if enabled else select(RULES.c.rule_id)
        with self._database.read() as c:
            return {rule_id for at in range(0, len(ids), 500)
                    for rule_id in c.execute(query.where(RULES.c.rule_id.in_(ids[at : at + 500]))).scalars()}

    def version(self) -> str:
        """The version of the enabled set: changes whenever a rule is switched, added, changed or removed. One small read."""
        with self._database.read() as c:
            return version_now(c)


def entity_of(rule: CompiledRule, event: Event) -> tuple[str, str]:
    """(value, kind) that alerts of this match are kept by: the rule's own field, else host, source address, user."""
    return entity_by_default(event, rule.entity)


def entity_by_default(event: Event, first: str = "") -> tuple[str, str]:
    """(value, kind) of the field `first` if the event has it, else of its host, source address or user."""
    for name in (first, "host.name", "source.ip", "user.name"):
        value = event.get(name) if name else None
        one = value[0] if isinstance(value, list) and value else value
        if one is not None and one != [] and str(one):
            return str(one)[:256], _kind(name)
    return "unknown", "host"


def _kind(name: str) -> str:
    if "user" in name.lower():
        return "user"
    return "address" if name.endswith((".ip", ".address", ".mac")) else "host"


_SHOWN: Final = tuple(RULES.c[name] for name in (
    "rule_id", "pack", "path", "line", "version", "title", "level", "status", "author", "product", "category", "service", "tags",
    "entity", "enabled", "reason_off", "imported", "kind", "name"))


def _shown(row: Sequence[Any], faults: Mapping[str, Sequence[str]]) -> RuleRow:
    values = list(row)
    values[12] = tuple(values[12])
    values[14] = bool(values[14])
    values.append(why_not(LogSource(*values[9:12])) if values[17] == "rule" else "; ".join(faults.get(values[0], ()))[:1000])
    return RuleRow(*values)


def _conditions(enabled: bool | None, level: str, product: str, pack: str, text: str) -> Iterable[Any]:
    if enabled is not None:
        yield RULES.c.enabled == enabled
    for column, value in ((RULES.c.level, level), (RULES.c.product, product), (RULES.c.pack, pack)):
        if value:
            yield column == value
    if text:
        places = (RULES.c.title, RULES.c.rule_id, RULES.c.path)
        yield or_(*(func.lower(column).contains(text.lower(), autoescape=True) for column in places))


def _row(rule: Any, pack: str, reason_off: str, now: int) -> dict[str, Any]:
    source = rule.logsource
    return {
        "rule_id": rule.rule_id, "kind": rule.kind, "name": rule.name,
        "pack": pack[:128], "path": rule.path[:1024], "line": rule.line, "version": rule.version,
        "title": rule.title, "level": rule.level, "status": rule.status, "author": rule.author, "product": source.product[:128],
        "category": source.category[:128], "service": source.service[:128], "tags": list(rule.tags)[:200],
        "entity": rule.rule.entity if rule.rule else "", "source": rule.source, "format": FORMAT,
        "compiled": rule.rule.detection if rule.rule else None, "enabled": not reason_off and rule.rule is not None,
        "reason_off": reason_off[:256], "imported": now}


def _chosen(c: Connection, ids: Sequence[str]) -> list[tuple[str, bool, str]]:
    found: dict[str, tuple[str, bool, str]] = {}
    for at in range(0, len(ids), 500):
        query = select(RULES.c.rule_id, RULES.c.compiled.is_not(None), RULES.c.reason_off)
        query = query.where(RULES.c.rule_id.in_(ids[at : at + 500]))
        found |= {row[0]: (row[0], bool(row[1]), row[2]) for row in c.execute(query).all()}
    missing = [rule_id for rule_id in ids if rule_id not in found]
    if missing:
        raise NotFoundError(f"there is no rule {', '.join(missing[:5])}", remedy="`soc rules list` shows them")
    return list(found.values())


def _on(c: Connection) -> int:
    return int(c.execute(select(func.count()).select_from(RULES).where(RULES.c.enabled)).scalar_one())


def _switch(c: Connection, ids: Sequence[str], on: bool, reason: str) -> int:
    changed = 0
    for at in range(0, len(ids), 500):
        changed += c.execute(
            update(RULES).where(RULES.c.rule_id.in_(ids[at : at + 500]), RULES.c.enabled != on, RULES.c.compiled.is_not(None))
            .values(enabled=on, reason_off=reason)).rowcount
    return changed


def _renew(c: Connection, now: int) -> str:
    """Note the enabled set under its version, if it is another one now."""
    rows = c.execute(select(RULES.c.rule_id, RULES.c.version).where(RULES.c.enabled).order_by(RULES.c.rule_id)).all()
    return note_set(c, [(row.rule_id, row.version) for row in rows], now)
