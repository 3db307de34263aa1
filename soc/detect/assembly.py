"""The rule set as it runs: rules with their filters, correlations with the rules they refer to, and what is in nobody's way.

Made anew whenever a rule is added, changed or switched, so the order in which files arrive does not matter.
"""
from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from soc.detect.compiled import CompiledRule
from soc.detect.correlation.spec import Correlation
from soc.detect.filters import ANY, Filter, covers, filtered

__all__ = ["MAX_DEPTH", "Member", "RuleSet", "RunningCorrelation", "assemble"]

MAX_DEPTH: Final = 10
"""How deep correlations of correlations may go."""


@dataclass(frozen=True, slots=True)
class Member:
    """One rule, correlation or filter of the store, with what references are resolved by. `rule` is None if it cannot run."""

    rule_id: str
    name: str
    kind: str
    pack: str
    path: str
    enabled: bool
    rule: CompiledRule | None


@dataclass(frozen=True, slots=True)
class RunningCorrelation:
    """A correlation and the rules it refers to, one per reference; `state` names its rows: another meaning, other rows."""

    rule: CompiledRule
    spec: Correlation
    members: tuple[CompiledRule | RunningCorrelation, ...]
    state: str


@dataclass(slots=True)
class RuleSet:
    """What the detector loads. `correlations` come after those they refer to.

    `silent` rules and correlations are evaluated and raise no alerts of their own; `faults` says, by id, why a correlation
    does not run and what a filter does not reach; `filters` how many rules each filter was added to.
    """

    rules: list[CompiledRule] = field(default_factory=list)
    correlations: list[RunningCorrelation] = field(default_factory=list)
    silent: frozenset[str] = frozenset()
    faults: dict[str, list[str]] = field(default_factory=dict)
    filters: dict[str, int] = field(default_factory=dict)


def assemble(members: Iterable[Member]) -> RuleSet:
    """Resolve every reference. Nothing is raised: what cannot run is in `faults`."""
    known = _Known(list(members))
    found = RuleSet()
    added = _added(known, found)
    for member in known.members:
        if member.kind == "rule" and member.enabled and member.rule is not None:
            extra = added.get(member.rule_id)
            found.rules.append(filtered(member.rule, extra) if extra else member.rule)
    _Resolver(known, found).run()
    found.silent = _silent(known, found)
    return found


class _Known:
    """The members, by id and by name."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members
        self._by_id = {one.rule_id: one for one in members}
        self._by_name: dict[str, list[Member]] = defaultdict(list)
        for one in members:
            if one.name:
                self._by_name[one.name].append(one)

    def find(self, reference: str, asker: Member) -> Member | str:
        """The rule meant, or why there is none: its id, else its name, in the same file before the same pack before all."""
        if reference in self._by_id:
            return self._by_id[reference]
        named = self._by_name.get(reference, [])
        for near in ([one for one in named if (one.pack, one.path) == (asker.pack, asker.path)],
                     [one for one in named if one.pack == asker.pack], named):
            if len(near) == 1:
                return near[0]
            if near:
                return f"{len(near)} rules are called {reference[:100]!r}"
        return f"there is no rule {reference[:100]!r}"


def _added(known: _Known, found: RuleSet) -> dict[str, list[Filter]]:
    """Which filters are added to which rules; what does not fit is a fault of the filter."""
    added: dict[str, list[Filter]] = defaultdict(list)
    for member in known.members:
        if member.kind != "filter" or member.rule is None:
            continue
        one = Filter.unpack(member.rule.detection)
        if one.rules == (ANY,):
            reached = [other for other in known.members if _fits(member.rule, other)]
        else:
            reached = []
            for reference in one.rules:
                target = known.find(reference, member)
                if isinstance(target, str):
                    _note(found, member, target)
                elif target.kind != "rule":
                    _note(found, member, f"{reference[:100]!r} is a {target.kind}: only rules take filters")
                elif not _fits(member.rule, target):
                    _note(found, member, f"rule {reference[:100]!r} has another log source than the filter")
                elif target not in reached:
                    reached.append(target)
        found.filters[member.rule_id] = len(reached)
        if member.enabled:
            for target in reached:
                added[target.rule_id].append(one)
    return added


def _fits(rule: CompiledRule, other: Member) -> bool:
    return other.kind == "rule" and other.rule is not None and covers(rule.logsource, other.rule.logsource)


class _Resolver:
    """Correlations to the rules they refer to, in rounds: each round takes those whose members the rounds before have taken."""

    def __init__(self, known: _Known, found: RuleSet) -> None:
        self._known, self._found = known, found
        self._waiting = {one.rule_id: one for one in known.members if one.kind == "correlation" and one.rule is not None}
        self._done: dict[str, RunningCorrelation | None] = {}

    def run(self) -> None:
        """Resolve all; those that are switched off only for their faults."""
        for _ in range(MAX_DEPTH):
            ready = [one for one in self._waiting.values() if not any(t.rule_id in self._waiting for t in self._targets(one))]
            if not ready:
                break
            for member in ready:
                self._done[member.rule_id] = self._resolve(member)
            for member in ready:
                del self._waiting[member.rule_id]
        for member in self._waiting.values():
            _note(self._found, member, self._unending(member))

    def _targets(self, member: Member) -> list[Member]:
        assert member.rule is not None
        found = (self._known.find(reference, member) for reference in Correlation.unpack(member.rule.detection).rules)
        return [one for one in found if not isinstance(one, str)]

    def _resolve(self, member: Member) -> RunningCorrelation | None:
        assert member.rule is not None
        spec = Correlation.unpack(member.rule.detection)
        found = [self._member(member, reference) for reference in spec.rules]
        for reason in found:
            if isinstance(reason, str):
                _note(self._found, member, reason)
        sound = [one for one in found if not isinstance(one, str)]
        if len(sound) < len(found):
            return None
        result = RunningCorrelation(member.rule, spec, tuple(sound), _state(member.rule_id, spec, sound))
        if member.enabled:
            self._found.correlations.append(result)
        return result

    def _member(self, member: Member, reference: str) -> CompiledRule | RunningCorrelation | str:
        target = self._known.find(reference, member)
        if isinstance(target, str):
            return target
        if target.kind == "filter":
            return f"{reference[:100]!r} is a filter"
        if target.rule is None:
            return f"rule {reference[:100]!r} cannot run"
        if not target.enabled:
            return f"rule {reference[:100]!r} is switched off"
        if target.kind == "rule":
            return target.rule
        return self._done.get(target.rule_id) or f"correlation {reference[:100]!r} cannot run"

    def _unending(self, member: Member) -> str:
        """Why a correlation never got its turn: a circle, or a chain too long."""
        trail = [member.rule_id]
        while True:
            following = next((one for one in self._targets(self._waiting[trail[-1]]) if one.rule_id in self._waiting), None)
            if following is None:
                return f"correlations of correlations deeper than {MAX_DEPTH}"
            if following.rule_id in trail:
                circle = [*trail[trail.index(following.rule_id):], following.rule_id]
                return "its rules refer to each other in a circle: " + " → ".join(circle[:5]) + (" …" if len(circle) > 5 else "")
            trail.append(following.rule_id)


def _silent(known: _Known, found: RuleSet) -> frozenset[str]:
    """Rules that only serve correlations: asked for without `generate`, and by none with it.

    A correlation that does not run silences only rules of its own file, which were written for it.
    """
    running = {one.rule.rule_id for one in found.correlations}
    hidden: set[str] = set()
    shown: set[str] = set()
    for member in known.members:
        if member.kind != "correlation" or member.rule is None:
            continue
        spec = Correlation.unpack(member.rule.detection)
        for reference in spec.rules:
            target = known.find(reference, member)
            if isinstance(target, str) or target.rule_id == member.rule_id:
                continue
            if spec.generate:
                shown.add(target.rule_id)
            elif member.rule_id in running or (target.pack, target.path) == (member.pack, member.path):
                hidden.add(target.rule_id)
    return frozenset(hidden - shown)


def _state(rule_id: str, spec: Correlation, members: Sequence[CompiledRule | RunningCorrelation]) -> str:
    parts = [repr((rule_id, spec.type, spec.timespan, spec.group_by, sorted((k, sorted(v.items())) for k, v in spec.aliases.items()),
                   spec.op, spec.count, spec.tree, spec.fields, spec.percentile, spec.province))]
    parts += [one.state if isinstance(one, RunningCorrelation) else one.rule_id for one in members]
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _note(found: RuleSet, member: Member, reason: str) -> None:
    reasons = found.faults.setdefault(member.rule_id, [])
    if reason not in reasons:
        reasons.append(reason)
