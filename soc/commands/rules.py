"""`soc rules`: packs in, rules on and off, held and resumed, and trying rules out against files without a server."""
from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.commands.centre import Centre, open_centre
from soc.commands.output import fail, many, say, show
from soc.commands.rules_code import check, convert, match, run_samples
from soc.commands.rules_fetch import end_with_stdin, fetch
from soc.detect.packwork import PackWork
from soc.errors import InputRefused, RuleError
from soc.event import from_micros

if TYPE_CHECKING:
    from soc.detect.rulestore import PackReport, RuleRow, RuleStore

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Detection rules: import, check, test, switch on and off.", rich_markup_mode="rich")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Ids = Annotated[list[str] | None, typer.Argument(metavar="RULE…", help="Ids of rules.")]
_Named = Annotated[list[str], typer.Argument(metavar="RULE…", help="Ids of rules.")]
_Level = Annotated[str, typer.Option("--level", help="Only this level: informational, low, medium, high or critical.")]
_Product = Annotated[str, typer.Option("--product", help="Only rules of this product, e.g. windows.")]
_Pack = Annotated[str, typer.Option("--pack", help="Only rules of this pack.")]
_All = Annotated[bool, typer.Option("--all", help="Every rule that the filters leave.")]
_SCREEN = 100
_EVERYTHING = 1_000_000


@app.command("import")
def import_(
    ctx: typer.Context,
    path: Annotated[Path | None, typer.Argument(metavar="[PACK]", help="A .zip, a folder, or one .yml file.", exists=True)] = None,
    builtin: Annotated[bool, typer.Option("--builtin", help="Our own rules, that come with the centre, as the pack \"soc\".")] = False,
    off: Annotated[bool, typer.Option("--off", help="Leave new rules switched off.")] = False,
    name: Annotated[str, typer.Option("--name", help="The pack's name; its file name if not given.")] = "",
    noted: Annotated[bool, typer.Option("--noted", hidden=True)] = False,
    as_json: _Json = False,
) -> None:
    """Take a rule pack in and switch its rules on. The same pack again replaces it; what you switched off stays off.

    Works with the server running or stopped; a running detector takes the change up within seconds.
    """
    from soc.content import content

    if builtin == (path is not None):
        fail("one pack is imported at a time", "name a PACK, or give --builtin", 2)
    path, name = (path, name) if path is not None else (content("rules"), name or "soc")
    if noted:
        end_with_stdin()
    store, centre = rule_store(ctx)
    with PackWork(centre.data / "run", name or path.stem) if noted else nullcontext() as work:
        take_in(store, centre, path, name, off=off, as_json=as_json, work=work)


def take_in(store: RuleStore, centre: Centre, path: Path, name: str, *, off: bool, as_json: bool, work: PackWork | None,
            source: dict[str, Any] | None = None) -> None:
    """Import the pack, audit it (with where it came from), and say what became of it. Leaves with a word if it is refused."""
    try:
        with _Progress(as_json) as progress:
            report = store.import_pack(path, now=_now(), off=off, name=name, progress=work.progress if work else progress)
    except InputRefused as refused:
        if work is not None:
            raise
        fail(refused.message, refused.remedy or "nothing of it was imported")
    numbers = {"rules": report.rules, "enabled": report.enabled, "refused": len(report.refused)}
    _audit(centre, "rules.import", report.pack, numbers | (source or {}))
    if work is not None:
        work.tell(report={"pack": report.pack, **numbers, "cannot_fire": report.cannot_fire})
    of_others = [rule for rule in store.list(pack=report.pack, limit=report.rules) if rule.kind != "rule" and rule.why_not]
    _print_report(report, {f"{rule.pack}/{rule.path}": rule.why_not for rule in of_others}, as_json)


@app.command("list")
def list_(
    ctx: typer.Context,
    enabled: Annotated[bool, typer.Option("--enabled", help="Only rules that are on.")] = False,
    disabled: Annotated[bool, typer.Option("--disabled", help="Only rules that are off.")] = False,
    cannot_fire: Annotated[bool, typer.Option("--cannot-fire", help="Only rules that no source here sends events for; `why` says it.")] = False,
    refused: Annotated[bool, typer.Option("--refused", help="What the imports refused, with file, line and reason.")] = False,
    level: _Level = "",
    product: _Product = "",
    pack: _Pack = "",
    text: Annotated[str, typer.Option("--text", help="Only rules with this in title, id or file name.")] = "",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help=f"Most rows; {_SCREEN} on a screen, else all.")] = None,
    as_json: _Json = False,
) -> None:
    """List rules, worst level first. Works with the server running or stopped."""
    from soc.detect.coverage import trouble

    store, _ = rule_store(ctx)
    most = limit or (_SCREEN if sys.stdout.isatty() and not as_json else _EVERYTHING)
    if refused:
        rows = [{"pack": one.pack, "path": one.path, "line": one.line, "reason": one.reason, "at": _iso(one.at)}
                for one in store.refusals(pack=pack, limit=most)]
        show(rows, ["path", "line", "reason"], as_json=as_json, empty="No rule was refused.")
        return
    wanted = None if enabled == disabled else enabled
    asked = _EVERYTHING if cannot_fire else most  # whether a rule can fire is worked out, not stored
    found = store.list(enabled=wanted, level=level, product=product, pack=pack, text=text, limit=asked)
    left = [rule for rule in found if not (cannot_fire and rule.can_fire)]
    found = left[:most]
    behind = trouble(store.database, _now())
    rows = [_row(rule) | {"trouble": behind.get(rule.rule_id, "")} for rule in found]
    show(rows, ["id", "level", "enabled", "can_fire", "title", "log_source", "why", "trouble"], as_json=as_json,
         empty="No such rules; `soc rules import` brings some in.")
    if not as_json and len(found) == most:
        count = len(left) if cannot_fire else store.count(enabled=wanted, level=level, product=product, pack=pack, text=text)
        say(f"{len(found)} of {count} rules; --limit shows more.")


@app.command("show")
def show_(
    ctx: typer.Context, rule: Annotated[str, typer.Argument(metavar="RULE", help="Its id.")], as_json: _Json = False,
) -> None:
    """Show all of one rule: its source, and what it has seen, has still to see, saw late and never will."""
    from soc.detect.coverage import coverage, coverage_lines, coverage_out

    store, _ = rule_store(ctx)
    found, source = store.show(rule)
    covered = coverage_out(coverage(store.database, found.rule_id, found.version), _now())
    row = _row(found)
    if as_json:
        show([row | {"source": source, "coverage": covered}], [], as_json=True)
        return
    facts = [*row.items(), *coverage_lines(covered)]
    show([{"field": key, "value": value} for key, value in facts], ["field", "value"], as_json=False)
    typer.echo()
    typer.echo(source)


@app.command("enable")
def enable(ctx: typer.Context, rules: _Ids = None, everything: _All = False, level: _Level = "", product: _Product = "",
           pack: _Pack = "") -> None:
    """Switch rules on. A running detector takes it up within seconds."""
    store, centre = rule_store(ctx)
    ids = _chosen(store, rules, everything, enabled=False, level=level, product=product, pack=pack)
    changed = store.enable(ids, _now())
    _audit(centre, "rules.enable", ids[0] if len(ids) == 1 else f"{len(ids)} rules", {"changed": changed})
    say(f"{changed} switched on.")


@app.command("disable")
def disable(ctx: typer.Context, rules: _Ids = None, everything: _All = False, level: _Level = "", product: _Product = "",
            pack: _Pack = "") -> None:
    """Switch rules off. A running detector takes it up within seconds."""
    store, centre = rule_store(ctx)
    ids = _chosen(store, rules, everything, enabled=True, level=level, product=product, pack=pack)
    changed = store.disable(ids, _now())
    _audit(centre, "rules.disable", ids[0] if len(ids) == 1 else f"{len(ids)} rules", {"changed": changed})
    say(f"{changed} switched off.")


@app.command("hold")
def hold(ctx: typer.Context, rules: _Named,
         reason: Annotated[str, typer.Option("--reason", help="Why, in a sentence; it is shown wherever the rule is.")]) -> None:
    """Let rules judge nothing until they are resumed; what passes meanwhile is their gap, and they see it then."""
    from soc.detect.holds import Holds

    store, centre = rule_store(ctx)
    ids = list(dict.fromkeys(rules))
    changed = Holds(store.database).hold(ids, reason, actor=centre.actor, now=_now())
    _audit(centre, "rules.hold", ids[0] if len(ids) == 1 else f"{len(ids)} rules", {"changed": changed, "reason": reason})
    say(f"{changed} held.")


@app.command("resume")
def resume(ctx: typer.Context, rules: _Named) -> None:
    """Let held rules judge again and see what they have missed, oldest first."""
    from soc.detect.holds import Holds

    store, centre = rule_store(ctx)
    ids = list(dict.fromkeys(rules))
    changed = Holds(store.database).resume(ids)
    _audit(centre, "rules.resume", ids[0] if len(ids) == 1 else f"{len(ids)} rules", {"changed": changed})
    say(f"{changed} resumed.")


app.command("fetch")(fetch)
app.command("check")(check)
app.command("match")(match)
app.command("test")(run_samples)
app.command("convert")(convert)


# ---- helpers of this file


def rule_store(ctx: typer.Context) -> tuple[RuleStore, Centre]:
    from soc.detect.lists import kept_folders
    from soc.detect.rulestore import RuleStore

    centre = open_centre(ctx)
    return RuleStore(centre.state, kept_folders(centre.config, centre.data)[0]), centre


def _chosen(store: RuleStore, ids: Sequence[str] | None, everything: bool, *, enabled: bool, level: str, product: str,
            pack: str) -> list[str]:
    """The ids that a call means: those named, or all that its filters leave."""
    if ids:
        return list(dict.fromkeys(ids))
    if not (everything or level or product or pack):
        fail("no rule is named", "give ids, or --all, --level, --product, --pack", 2)
    found = store.list(enabled=enabled, level=level, product=product, pack=pack, limit=_EVERYTHING)
    return [rule.rule_id for rule in found if not rule.reason_off.startswith("placeholder")]


def _row(rule: RuleRow) -> dict[str, Any]:
    return {
        "id": rule.rule_id, "rule_id": rule.rule_id, "title": rule.title, "level": rule.level, "status": rule.status,
        "enabled": rule.enabled, "reason_off": rule.reason_off, "can_fire": rule.can_fire, "why_not": rule.why_not,
        "why": rule.reason_off or rule.why_not, "log_source": "/".join((rule.product, rule.category, rule.service)),
        "product": rule.product, "category": rule.category, "service": rule.service, "tags": list(rule.tags),
        "author": rule.author, "pack": rule.pack, "path": rule.path, "line": rule.line, "version": rule.version,
        "entity": rule.entity,
        "imported": _iso(rule.imported)}


def _print_report(report: PackReport, unfit: dict[str, str], as_json: bool) -> None:
    """`unfit`: correlations and filters that cannot work with the rules that are here -> why."""
    refused = [{"path": error.path, "line": error.line, "reason": _reason(error)} for error in report.refused]
    skipped = [{"path": path, "reason": reason} for path, reason in report.skipped]
    if as_json:
        names = (
            "pack", "version", "files", "rules", "added", "changed", "unchanged", "removed", "enabled", "off", "placeholders",
            "cannot_fire", "filled")
        row = {name: getattr(report, name) for name in names}
        json.dump(row | {"refused": refused, "skipped": skipped, "unfit": unfit}, sys.stdout, ensure_ascii=False, indent=1)
        sys.stdout.write("\n")
        return
    for one in refused:
        typer.echo(f"refused {one['path']}:{one['line']}: {one['reason']}")
    for place, reason in unfit.items():
        typer.echo(f"waits {place}: {reason}")
    for left in skipped[:20]:
        say(f"skipped {left['path']}: {left['reason']}")
    if len(skipped) > 20:
        say(f"skipped {many(len(skipped) - 20, 'more file that is no rule', 'more files that are no rules')}")
    say(f"Pack {report.pack}: {many(report.rules, 'rule')} from {many(report.files, 'file')} ({report.added:,} new, {report.changed:,} changed, "
        f"{report.removed:,} removed), {report.enabled:,} on, {report.off:,} off ({report.placeholders:,} for a placeholder), "
        f"{_refusals(report)}.")
    if report.filled:
        say(f"{many(report.filled, 'rule')} changed with the lists of their placeholders.")
    if report.cannot_fire:
        say(f"{report.cannot_fire:,} of them cannot fire here yet: no source sends their events (`soc rules list` says which).")


def _refusals(report: PackReport) -> str:
    """Faults and the files they are in, each counted as what it is."""
    files = len({error.path for error in report.refused})
    return f"{many(files, 'file')} refused ({many(len(report.refused), 'fault')})" if files else "0 files refused"


class _Progress:
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, as_json: bool) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._on = not as_json and sys.stderr.isatty()

    def __enter__(self) -> Any:
        if not self._on:
            return None
        from rich.console import Console
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), transient=True)
        self._bar.start()
        self._task = self._bar.add_task("Rules", total=None)
        return lambda done, total: self._bar.update(self._task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def _reason(error: RuleError) -> str:
    return f"{error.message} ({error.remedy})" if error.remedy else error.message


def _audit(centre: Centre, action: str, subject: str, detail: dict[str, Any]) -> None:
    from soc.access.audit import Audit

    Audit(centre.access).record(centre.actor, action, subject, detail, now=_now())


def _iso(micros: int) -> str:
    return from_micros(micros).isoformat(timespec="seconds")


def _now() -> int:
    return time.time_ns() // 1000
