"""Rule packs as a page: what is there, how far a new one is, the public release, and a place to drop a zip on."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response

from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.pages.parts import Looks
from soc.console.pages.render import see
from soc.console.parts import Given, Parts
from soc.console.ranges import Strict, Text
from soc.demo.story import Planted

__all__ = ["missed_of", "router"]

router = APIRouter(prefix="/rulepacks", include_in_schema=False)

Reader = Annotated[Principal, Depends(requires(Permission.RULES_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.RULES_WRITE))]


class Wish(Strict):
    """The button that fetches."""

    csrf: Text = ""


@dataclass(frozen=True, slots=True)
class Missed:
    """Of `planted` attacks of the demonstration: `unseen` for want of a public rule, `passed` before such a rule came."""

    planted: int
    unseen: Sequence[Planted]
    passed: Sequence[Planted]


def missed_of(parts: Parts) -> Missed:
    """What the demonstration planted and no rule found; nothing without a demonstration."""
    findings = parts.demonstration.findings() if parts.demonstration.there() else ()
    missed = [one.planted for one in findings if one.planted.public and not one.alerts]
    here = parts.rules.known([rule for one in missed for rule in one.rules], enabled=True)
    return Missed(len(findings), [one for one in missed if here.isdisjoint(one.rules)], [one for one in missed if not here.isdisjoint(one.rules)])


@router.get("")
def page(parts: Given, looks: Looks, request: Request, who: Reader) -> Response:
    """The page."""
    missed = missed_of(parts)
    shown = parts.packs.state() | {"packs": parts.packs.rows(), "planted": missed.planted, "unseen": missed.unseen, "passed": missed.passed}
    return looks.page(request, "rulepacks.html", who, may_write=who.may(Permission.RULES_WRITE), at=parts.now(), **shown)


@router.get("/work")
def work(parts: Given, looks: Looks, request: Request, who: Reader) -> Response:
    """How far the work is: the part of the page that renews itself."""
    return looks.page(request, "rulepack_work.html", who, work=parts.packs.state()["work"])


@router.post("/fetch")
def fetch(parts: Given, who: Writer, form: Annotated[Wish, Form()]) -> Response:
    """Fetch the public release, and see how far it is."""
    parts.packs.fetch()
    parts.audit.record(who.actor, "rulepack.fetch", "sigma", now=parts.now())
    return see("/rulepacks")
