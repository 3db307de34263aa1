"""Rules as pages: the list, what was refused, one with its source, on and off, hold and resume."""
from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from pydantic import Field

from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.api.rules import hold, resume, switch
from soc.console.callers import requires
from soc.console.pages.alerts import LEVELS
from soc.console.pages.parts import Looks
from soc.console.pages.render import see
from soc.console.parts import Given
from soc.console.ranges import Strict, Text
from soc.demo import pack
from soc.detect.coverage import coverage, coverage_out, trouble
from soc.detect.holds import LONGEST

__all__ = ["router"]

router = APIRouter(prefix="/rules", include_in_schema=False)

Reader = Annotated[Principal, Depends(requires(Permission.RULES_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.RULES_WRITE))]
_PAGE = 100


class Wanted(Strict):
    """The filter form."""

    text: Text = ""
    level: Literal["", "critical", "high", "medium", "low", "informational"] = ""
    on: Literal["", "yes", "no"] = ""
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0


class Switch(Strict):
    """What is done with a rule; a hold has a reason."""

    csrf: Text = ""
    do: Literal["enable", "disable", "hold", "resume"]
    reason: Text = ""


@router.get("")
def list_(parts: Given, looks: Looks, request: Request, who: Reader, wanted: Annotated[Wanted, Query()]) -> Response:
    """The list."""
    on = {"yes": True, "no": False}.get(wanted.on)
    rules = parts.rules.list(enabled=on, level=wanted.level, text=wanted.text, limit=_PAGE, offset=wanted.offset)
    total = parts.rules.count(enabled=on, level=wanted.level, text=wanted.text)
    following = wanted.model_dump() | {"offset": wanted.offset + _PAGE} if wanted.offset + _PAGE < total else {}
    return looks.page(
        request, "rules.html", who, rules=rules, total=total, wanted=wanted, levels=LEVELS, following=following, at=parts.now(),
        trouble=trouble(parts.rules.database, parts.now()), demonstration=pack.holds)


@router.get("/refused")
def refused(parts: Given, looks: Looks, request: Request, who: Reader) -> Response:
    """What imports did not take, and why."""
    return looks.page(request, "refusals.html", who, refusals=parts.rules.refusals())


@router.get("/{rule_id}")
def show(parts: Given, looks: Looks, request: Request, who: Reader, rule_id: str) -> Response:
    """One rule."""
    rule, source = parts.rules.show(rule_id)
    covered = coverage_out(coverage(parts.rules.database, rule.rule_id, rule.version), parts.now())
    return looks.page(request, "rule.html", who, rule=rule, source=source, may_write=who.may(Permission.RULES_WRITE), coverage=covered,
                      demonstration=pack.holds(rule), longest=LONGEST)


@router.post("/{rule_id}")
def work(parts: Given, who: Writer, rule_id: str, form: Annotated[Switch, Form()]) -> Response:
    """Switch, hold or resume it, and see it again."""
    if form.do == "hold":
        hold(parts, who, rule_id, form.reason)
    elif form.do == "resume":
        resume(parts, who, rule_id)
    else:
        switch(parts, who, rule_id, form.do == "enable")
    rule, _ = parts.rules.show(rule_id)
    return see(f"/rules/{rule.rule_id}")
