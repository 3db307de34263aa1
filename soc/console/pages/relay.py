"""The rules of a relay as a page: an ordered list to edit, what it would make of what came so far, and earlier versions.

A draft lives in its form alone: every button but the one that saves answers with the form as it then is.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from pydantic import Field

from soc.access.principal import Principal
from soc.access.relay import MOST_RULES, RelayRule, address_in, check_relay
from soc.access.roles import Permission
from soc.access.sources import Source
from soc.console.api.sources import rule_faults, split_source
from soc.console.callers import requires
from soc.console.pages.parts import Looks
from soc.console.pages.render import see
from soc.console.parts import Given, Parts
from soc.console.problems import status_of
from soc.console.ranges import Strict, Text
from soc.errors import ChangedError, InputRefused
from soc.event import UNASSIGNED
from soc.ingest.relaypreview import Seen, Share, hosts_seen, shares_of

__all__ = ["router"]

router = APIRouter(prefix="/sources", include_in_schema=False)

Reader = Annotated[Principal, Depends(requires(Permission.SOURCES_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.SOURCES_WRITE))]
_ROWS = 200
"""Hosts that the preview shows."""
_CHOICES = 5000
"""Options of all lists of agencies together; beyond, an agency is typed, with suggestions."""

_Column = Annotated[list[Text], Field(max_length=MOST_RULES + 1)]


class Look(Strict):
    """An earlier version that is looked at, or the one that was just saved."""

    of: int | None = None
    saved: int | None = None


class Draft(Strict):
    """The form: a row for each rule, its columns beside each other, and the button that was pressed. A row left empty is none."""

    csrf: Text = ""
    version: int = 0
    of: int | None = None
    do: Text = "preview"
    kind: Annotated[list[Literal["host", "address"]], Field(max_length=MOST_RULES + 1)] = Field(default_factory=list)
    pattern: _Column = Field(default_factory=list)
    agency: _Column = Field(default_factory=list)

    def rows(self) -> list[RelayRule]:
        """The rows as typed, whatever they hold. Raises InputRefused."""
        if not len(self.kind) == len(self.pattern) == len(self.agency):
            raise InputRefused("the form came in pieces", remedy="load the page again and repeat it")
        rows = zip(self.kind, map(str.strip, self.pattern), map(str.strip, self.agency), strict=True)
        return [RelayRule(agency, **{kind: pattern}) for kind, pattern, agency in rows]


@dataclass(frozen=True, slots=True)
class Host:
    """One line of the preview: whose a host's records are by the rules that are kept, and would be by those of the draft."""

    name: str
    kind: str
    records: int
    rule: int
    now: str
    then: str


@router.get("/{source_id}/relay")
def show(parts: Given, looks: Looks, request: Request, who: Reader, source_id: str, look: Annotated[Look, Query()]) -> Response:
    """The rules that are kept, or those of an earlier version as a draft."""
    source = parts.sources.get(source_id, who.scope)
    if look.of is None:
        return _page(parts, looks, request, who, source, source.relay, saved=look.saved == source.relay_version)
    edit = parts.sources.relay_edit(source_id, who.scope, look.of)
    return _page(parts, looks, request, who, source, edit.rules, of=edit.version, seen=_seen(parts, who, source))


@router.post("/{source_id}/relay", form_limits={"max_fields": 3 * (MOST_RULES + 1) + 8})
def change(parts: Given, looks: Looks, request: Request, who: Writer, source_id: str, draft: Annotated[Draft, Form()]) -> Response:
    """Do to the draft what the button says, or save it."""
    source = parts.sources.get(source_id, who.scope)
    if source.kind != "syslog":
        return _page(parts, looks, request, who, source, source.relay)
    rows, verb, what = draft.rows(), *draft.do.partition(":")[::2]
    rules = list(filter(_filled, rows))
    if verb == "undo" and draft.of is not None:
        rules = list(parts.sources.relay_edit(source_id, who.scope, draft.of).rules)
    if verb in ("save", "undo", "preview"):
        faults = rule_faults(parts, who, rules)
        if faults:
            return _page(parts, looks, request, who, source, rules, draft=draft, faults=faults, status=422)
        try:
            rules = list(check_relay(rules))
        except InputRefused as refused:  # too many
            return _page(parts, looks, request, who, source, rules, draft=draft, refused=refused, status=422)
        if verb != "preview":
            return _save(parts, looks, request, who, source, rules, draft)
        return _page(parts, looks, request, who, source, rules, draft=draft, seen=_seen(parts, who, source))
    rules, focus = _edited(rows, verb, what)
    return _page(parts, looks, request, who, source, rules, draft=draft, focus=focus)


def _save(parts: Parts, looks: Looks, request: Request, who: Principal, source: Source, rules: list[RelayRule], draft: Draft) -> Response:
    again = any(edit.version == draft.of and list(edit.rules) == rules for edit in parts.sources.relay_edits(source.id, who.scope))
    try:
        kept = split_source(parts, who, source.id, rules, version=draft.version, put_back=draft.of if again else None)
    except ChangedError as late:
        now = parts.sources.get(source.id, who.scope)
        (edit, *_) = parts.sources.relay_edits(source.id, who.scope)
        fresh = draft.model_copy(update={"version": now.relay_version})  # who saves after being told means it
        return _page(parts, looks, request, who, now, rules, draft=fresh, refused=late, theirs=edit, status=status_of(late))
    return see(f"/sources/{source.id}/relay", saved=str(kept.relay_version))


def _edited(rows: Sequence[RelayRule], verb: str, what: str) -> tuple[list[RelayRule], tuple[int, str]]:
    """The rules after a button was pressed, and which of a row's fields to go on from: (place, "pattern", "up" or "down").

    `what` is a row from 1, or for "host" and "address" what a new rule is to hold. Raises InputRefused.
    """
    made = list(filter(_filled, rows))
    if verb in ("host", "address"):
        return [*made, RelayRule("", **{verb: what})], (len(made) + 1, "agency")
    row = int(what) if what.isascii() and what.isdigit() and len(what) < 6 else 0
    if verb != "add" and not (verb in ("up", "down", "remove") and 1 <= row <= len(rows)):
        raise InputRefused("there is no such button here", remedy="load the page again and repeat it")
    if verb == "add" or not _filled(rows[row - 1]):
        return made, (len(made) + 1, "pattern")
    place = sum(map(_filled, rows[:row]))
    rule = made.pop(place - 1)
    if verb == "remove":
        return made, (min(place, len(made)) or 1, "remove" if made else "pattern")
    to = min(max(place + (1 if verb == "down" else -1), 1), len(made) + 1)
    made.insert(to - 1, rule)
    last = to == 1 if verb == "up" else to == len(made)
    return made, (to, {"up": "down", "down": "up"}[verb] if last else verb)


def _filled(rule: RelayRule) -> bool:
    return bool(rule.host or rule.address or rule.agency)


def _seen(parts: Parts, who: Principal, source: Source) -> Seen:
    return hosts_seen(parts.events, source, who.scope)


def _page(
    parts: Parts, looks: Looks, request: Request, who: Principal, source: Source, rules: Sequence[RelayRule], *, draft: Draft | None = None,
    status: int = 200, **more: Any,
) -> Response:
    agencies = parts.agencies.list(who.scope, at=parts.now())
    known = {one.id for one in agencies}
    values: dict[str, Any] = {
        "faults": {}, "focus": (0, ""), "refused": None, "theirs": None, "saved": False, "seen": None, "of": draft.of if draft else None,
        "version": draft.version if draft else source.relay_version} | more
    seen: Seen | None = values["seen"]
    shares = shares_of(seen, source, rules) if seen is not None else ()
    hosts = _hosts(seen, source, shares) if seen is not None else []
    return looks.page(
        request, "relay.html", who, status=status, source=source, rules=rules, agencies=agencies,
        others=sorted({rule.agency for rule in rules if rule.agency} - known), listed=(len(rules) + 1) * len(agencies) <= _CHOICES,
        changed=tuple(rules) != source.relay, shares=shares, hosts=hosts[:_ROWS], left_out=len(hosts[_ROWS:]), gains=_gains(hosts),
        unassigned=UNASSIGNED, edits=parts.sources.relay_edits(source.id, who.scope),
        may_write=who.may(Permission.SOURCES_WRITE), back=f"/sources/{source.id}/relay", most=MOST_RULES, **values)


def _hosts(seen: Seen, source: Source, shares: Sequence[Share]) -> list[Host]:
    """Every host that was seen: first what no rule fits, then by how many records it has."""
    now = {host: share.agency for share in shares_of(seen, source, source.relay) for host in share.hosts}
    found = [Host(host, "address" if address_in(host) else "host", records, number if share.rule else 0, now[host], share.agency)
             for number, share in enumerate(shares, 1) for host, records in share.hosts.items()]
    return sorted(found, key=lambda one: (one.rule > 0, -one.records, one.name))


def _gains(hosts: Sequence[Host]) -> list[tuple[str, int]]:
    """How many records each agency would get, most first."""
    counted: Counter[str] = Counter()
    for host in hosts:
        counted[host.then] += host.records
    return counted.most_common()
