"""`/api/v1/sources`: what may send; making one, the lines that point a sender at it, what came of it, shutting it off."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, Field

from alerts.outputs import event_out, iso
from soc.access.principal import Principal
from soc.access.relay import MOST_RULES, RelayRule, check_relay, check_rule
from soc.access.roles import Permission
from soc.access.sources import KINDS, Source
from soc.console.callers import requires
from soc.console.parts import Given, Parts
from soc.console.ranges import JSON, Limit, Strict, Text
from soc.errors import InputRefused
from soc.event import UNASSIGNED, Lane, to_micros
from soc.ingest.heard import Heard, heard
from soc.ingest.relaypreview import preview_relay
from soc.ingest.shipperlines import OVER, SHIPPERS, Lines, kind_of_shipper, lines_for
from soc.normalise.records import check_format

__all__ = ["NewSource", "add_source", "lines_of", "router", "rule_faults", "split_source", "switch_source"]

router = APIRouter(prefix="/api/v1/sources", tags=["sources"])

Reader = Annotated[Principal, Depends(requires(Permission.SOURCES_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.SOURCES_WRITE))]


class Wanted(Strict):
    """A list of sources."""

    kind: Text | None = None
    agency: Text | None = None
    limit: Limit = 1000


class NewSource(Strict):
    """A source to be made; `shipper` also asks for the lines of that program, with the token in them."""

    id: Annotated[str, Field(min_length=1, max_length=64)]
    name: Text = ""
    kind: Text = Field(default="", description=f"{' or '.join(KINDS)}; what the shipper needs, or ndjson, if not given.")
    agency: Text = UNASSIGNED
    addresses: Annotated[list[Text], Field(max_length=1000)] = Field(default_factory=list)
    format: Text = "auto"
    timezone: Text = Field(default="", description="Zone of times without one; the centre's if not given.")
    shipper: Text = Field(default="", description=f"One of {', '.join(SHIPPERS)}.")
    over: Text = Field(default="", description=f"Way of syslog, one of {', '.join(OVER)}; tls if it is there, else tcp.")
    host: Text = Field(default="", description="The centre's name as the sender reaches it; found out if not given.")


class WantedLines(Strict):
    """The lines that are wanted."""

    shipper: Text = Field(description=f"One of {', '.join(SHIPPERS)}.")
    over: Text = Field(default="", description=f"Way of syslog, one of {', '.join(OVER)}; tls if it is there, else tcp.")
    host: Text = Field(default="", description="The centre's name as the sender reaches it; found out if not given.")


class Rule(Strict):
    """A rule of a relay: exactly one of `host` (* any characters, ? one) and `address` (CIDR), and whose the records are."""

    agency: Text
    host: Text = ""
    address: Text = ""


class Rules(Strict):
    """A relay's rules in their order; the first that fits a record counts."""

    rules: Annotated[list[Rule], Field(max_length=MOST_RULES)]


class NewRules(Rules):
    """Rules that are to be kept."""

    version: int | None = Field(default=None, ge=0, description="`relay_version` as it was read: 409 if it is another by now. Optional.")


class Since(Strict):
    """A moment."""

    since: AwareDatetime | None = Field(default=None, description="What came from then on, ISO 8601 with a zone; since it was made if not given.")


@router.get("")
def list_(parts: Given, who: Reader, wanted: Annotated[Wanted, Query()]) -> JSON:
    """Sources by id, disabled ones too; tokens are never shown."""
    found = parts.sources.list(who.scope, limit=wanted.limit, kind=wanted.kind, agency=wanted.agency)
    return JSON({"sources": [_out(source) for source in found]})


@router.get("/{source_id}")
def get(parts: Given, who: Reader, source_id: str) -> JSON:
    """One source."""
    return JSON(_out(parts.sources.get(source_id, who.scope)))


@router.post("")
def add(parts: Given, who: Writer, asked: NewSource) -> JSON:
    """Let something send. The token stands in this answer and nowhere else, and, if a shipper is named, in its lines."""
    made, token, found = add_source(parts, who, asked)
    answer = _out(made) | {"token": token}
    if found is not None:
        answer["lines"] = _lines_out(found)
    return JSON(answer)


@router.get("/{source_id}/lines")
def lines(parts: Given, who: Reader, source_id: str, wanted: Annotated[WantedLines, Query()]) -> JSON:
    """What points a program at the centre as this source: `text` is the content of `file` (or a command if that is empty),
    `then` what to do by turns. Where the token belongs, `$SOC_TOKEN` stands: only its hash is kept.
    """
    source = parts.sources.get(source_id, who.scope)
    return JSON(_lines_out(lines_of(parts, source, wanted.shipper, wanted.over, wanted.host)))


@router.get("/{source_id}/heard")
def heard_(parts: Given, who: Reader, source_id: str, asked: Annotated[Since, Query()]) -> JSON:
    """What came of it since a moment, for whoever waits: `event`, the newest; `received`, whether records came, whatever became
    of them; `refused`, the last attempt that was refused, with why and what to do. Ask once a second.
    """
    source = parts.sources.get(source_id, who.scope)
    since = to_micros(asked.since) if asked.since else source.created
    return JSON(_heard_out(heard(parts.gateway(), parts.events, source.id, who.scope, since, strangers=who.scope.agencies is None)))


@router.get("/{source_id}/relay")
def relay(parts: Given, who: Reader, source_id: str) -> JSON:
    """A relay's rules, and in `edits` the versions of them that are kept, the newest first: PUT one to put it back."""
    source = parts.sources.get(source_id, who.scope)
    return JSON({"version": source.relay_version, "rules": [asdict(rule) for rule in source.relay], "edits": [
        {"version": edit.version, "at": iso(edit.at), "by": edit.by, "rules": [asdict(rule) for rule in edit.rules]}
        for edit in parts.sources.relay_edits(source_id, who.scope)]})


@router.put("/{source_id}/relay")
def split(parts: Given, who: Writer, source_id: str, asked: NewRules) -> JSON:
    """Split a syslog relay's records among agencies from now on; no rules: all are the source's own agency's."""
    parts.sources.get(source_id, who.scope)
    return JSON(_out(split_source(parts, who, source_id, _rules(parts, who, asked), version=asked.version)))


@router.post("/{source_id}/relay/preview")
def preview(parts: Given, who: Reader, source_id: str, asked: Rules) -> JSON:
    """What these rules would make of the newest 10,000 records of a source: per rule, and last, without one, what none fits."""
    source = parts.sources.get(source_id, who.scope)
    found = preview_relay(parts.events, source, _rules(parts, who, asked), who.scope)
    return JSON({"seen": found.seen, "shares": [{
        "rule": asdict(share.rule) if share.rule else None, "agency": share.agency, "records": share.records,
        "hosts": [{"host": host, "records": count} for host, count in share.hosts.most_common(10)]} for share in found.shares]})


@router.post("/{source_id}/disable")
def disable(parts: Given, who: Writer, source_id: str) -> JSON:
    """Take nothing more from it."""
    return JSON(_out(switch_source(parts, who, source_id, on=False)))


@router.post("/{source_id}/enable")
def enable(parts: Given, who: Writer, source_id: str) -> JSON:
    """Take from it again, under the token it had."""
    return JSON(_out(switch_source(parts, who, source_id, on=True)))


def _check_agencies(parts: Parts, who: Principal, agencies: Iterable[str]) -> None:
    known = parts.agencies.tree(parts.now())
    for agency in agencies:
        if not who.scope.allows(agency) or agency not in known:
            raise InputRefused(f"no agency {agency[:64]!r}", remedy="add it first, or name one of yours")


def _rules(parts: Parts, who: Principal, asked: Rules) -> tuple[RelayRule, ...]:
    rules = [RelayRule(rule.agency, rule.host, rule.address) for rule in asked.rules]
    for fault in rule_faults(parts, who, rules).values():
        raise fault
    return check_relay(rules)


def rule_faults(parts: Parts, who: Principal, rules: Sequence[RelayRule]) -> dict[int, InputRefused]:
    """What is wrong with each rule that is none, or whose agency the caller may not name; the first is number 1."""
    known = parts.agencies.tree(parts.now())
    faults: dict[int, InputRefused] = {}
    for number, rule in enumerate(rules, 1):
        if not rule.agency:
            faults[number] = InputRefused(f"rule {number}: whose the records are is missing", remedy="choose an agency")
        elif not who.scope.allows(rule.agency) or rule.agency not in known:
            faults[number] = InputRefused(f"rule {number}: no agency {rule.agency[:64]!r}", remedy="add it first, or name one of yours")
        else:
            try:
                check_rule(number, rule)
            except InputRefused as fault:
                faults[number] = fault
    return faults


def split_source(
    parts: Parts, who: Principal, source_id: str, rules: Sequence[RelayRule], *, version: int | None = None, put_back: int | None = None,
) -> Source:
    """Keep a relay's rules, and write down who did; `put_back`: the version that they come from.

    Raises ChangedError (it is no longer at `version`), NotFoundError, InputRefused.
    """
    now = parts.now()
    kept = parts.sources.split(source_id, who.scope, rules, now=now, by=who.name, version=version)
    detail: dict[str, object] = {"version": kept.relay_version, "rules": [f"{rule} → {rule.agency}" for rule in kept.relay]}
    if put_back is not None:
        detail["put_back"] = put_back
    parts.audit.record(who.actor, "source.relay", source_id, detail, now=now)
    return kept


def add_source(parts: Parts, who: Principal, asked: NewSource) -> tuple[Source, str, Lines | None]:
    """A new source, its token, and the lines for its shipper if one is named. Raises InputRefused, before anything is made."""
    _check_agencies(parts, who, [asked.agency])
    check_format(asked.format)
    kind = asked.kind or (kind_of_shipper(asked.shipper) if asked.shipper else "ndjson")
    if asked.shipper:  # what has no lines is refused before anything is made
        lines_of(parts, Source(asked.id, asked.name, kind), asked.shipper, asked.over, asked.host)
    now = parts.now()
    made, token = parts.sources.create(
        asked.id, asked.name, now=now, kind=kind, agency=asked.agency, format=asked.format, timezone=asked.timezone or parts.timezone,
        lane=Lane.LIVE, addresses=asked.addresses)
    parts.audit.record(who.actor, "source.add", made.id, {"kind": kind, "agency": made.agency, "addresses": made.addresses}, now=now)
    said = token.reveal()
    return made, said, lines_of(parts, made, asked.shipper, asked.over, asked.host, said) if asked.shipper else None


def switch_source(parts: Parts, who: Principal, source_id: str, *, on: bool) -> Source:
    """Take from it again, under the token it had, or take nothing more. Raises NotFoundError."""
    now = parts.now()
    if on:
        parts.sources.enable(source_id, who.scope)
    else:
        parts.sources.disable(source_id, who.scope, now=now)
    parts.audit.record(who.actor, "source.enable" if on else "source.disable", source_id, now=now)
    return parts.sources.get(source_id, who.scope)


def lines_of(parts: Parts, source: Source, shipper: str, over: str, host: str, token: str = "") -> Lines:
    """What points a program at the centre as this source. Raises InputRefused (another kind; a way that is not listened to)."""
    if kind_of_shipper(shipper) != source.kind:
        raise InputRefused(f"{shipper} sends {kind_of_shipper(shipper)}, and {source.id} takes {source.kind}", remedy="make a source for it")
    return lines_for(shipper, source.id, parts.reach(host), over=over, token=token)


def _lines_out(made: Lines) -> dict[str, Any]:
    return {"file": made.file, "text": made.text, "then": list(made.then)}


def _heard_out(found: Heard) -> dict[str, Any]:
    one = found.refused
    return {
        "received": found.received, "event": None if found.event is None else event_out(found.event),
        "refused": None if one is None else {
            "at": iso(int(one.at * 1e6)), "reason": one.reason, "peer": one.peer, "count": one.count, "why": one.why, "remedy": one.remedy},
    }


def _out(source: Source) -> dict[str, Any]:
    return {
        "id": source.id, "name": source.name, "kind": source.kind, "agency": source.agency, "agencies": list(source.agencies),
        "format": source.format, "timezone": source.timezone, "year": source.year, "lane": source.lane.value,
        "retention": source.retention, "addresses": list(source.addresses), "enabled": source.enabled,
        "relay": [asdict(rule) for rule in source.relay], "relay_version": source.relay_version,
        "created": iso(source.created), "rotated": iso(source.rotated),
    }
