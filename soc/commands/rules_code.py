"""`soc rules check|match|test|convert`: rules as code, for a terminal or an agency's own CI. No server and no data folder needed.

Exit codes of all of them: 0 clean, 1 faults or failures were found, 2 it could not run.
"""
from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from soc.commands.output import as_json_text, fail, inert, many, quiet, say, show
from soc.commands.rules_report import Finding, Format, junit, sarif
from soc.detect.convert import Target
from soc.errors import InputRefused, NotFoundError, RuleError

if TYPE_CHECKING:
    from soc.commands.rules_match import FileHit, Matcher
    from soc.detect.rules import FoundRule

__all__ = ["check", "convert", "match", "run_samples"]

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Lists = Annotated[Path | None, typer.Option(
    "--lists", help="Folder of lists that placeholders are filled from.", exists=True, file_okay=False)]
_Mappings = Annotated[Path | None, typer.Option(
    "--mappings", help="Folder of field mappings of your own.", exists=True, file_okay=False)]
_Format = Annotated[Format, typer.Option("--format", help="text, json, sarif (code scanning) or junit (test reports).")]
_Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write there instead of to stdout.", dir_okay=False)]
CANNOT_RUN: Final = 2
_NO_SAMPLES: Final = (
    "A sample is a line in RULE.samples.jsonl beside RULE.yml: {\"match\": true, \"raw\": \"the record as its source writes it\"}; "
    "\"match\": false for what must not match. docs/rules-as-code.md says more.")


def check(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Rule files, folders or zips.", exists=True)],
    lists: _Lists = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    format: _Format = Format.TEXT,
    output: _Output = None,
    as_json: _Json = False,
) -> None:
    """Check rules without importing them: a line per fault, as file:line: reason; exit code 1 if there are any.

    Warnings name what sound rules do that their authors hardly mean: no source here sends their events, a field is misspelt, a
    selection is not used, a star in a path is no wildcard, a placeholder waits for its list.
    No server and no data folder needed. --format sarif or junit writes what code scanning or a CI's test report reads.
    """
    from soc.commands.rules_load import load_rules, together

    loaded = load_rules(paths, lists)
    unfit = together(loaded)[1]
    faults = [Finding(error.path, error.line, error.message, error.remedy) for error in [*loaded.faults, *unfit]]
    broken = {(error.path, error.line) for error in unfit}
    fine = [rule for rule in loaded.rules if (rule.path, rule.line) not in broken]
    others = [one for rule in fine for one in _advised(rule, strict)]
    warnings = [one for one in others if one.message]
    format = Format.JSON if as_json else format
    if format is Format.TEXT:
        text = "".join(inert(f"{one.path}:{one.line}: {one.text}") + "\n" for one in faults)
        text += "".join(inert(f"{one.path}:{one.line}: warning: {one.text}") + "\n" for one in warnings)
    elif format is Format.JSON:
        rows = [{"path": one.path, "line": one.line, "level": "fault" if one in faults else "warning", "reason": one.message, "remedy": one.remedy}
                for one in [*faults, *warnings]]
        text = as_json_text(rows, indent=1) + "\n"
    else:
        text = sarif([*faults, *warnings]) if format is Format.SARIF else junit("soc rules check", [*faults, *others])
    _written(text, output)
    if format is Format.TEXT:
        for path, reason in loaded.skipped[:20]:
            say(f"skipped {path}: {reason}")
        say(_checked(len(fine), faults, len(loaded.skipped), len(warnings)))
    if faults or (strict and warnings):
        raise typer.Exit(1)


def _checked(fine: int, faults: Sequence[Finding], skipped: int, warnings: int) -> str:
    """The last line of a check: rules, faults and files each counted as what they are."""
    files = len({one.path for one in faults})
    return (f"{many(fine, 'rule is', 'rules are')} fine, {many(len(faults), 'fault')}" + (f" in {many(files, 'file')}" if faults else "")
            + (f", {many(skipped, 'file is no rule', 'files are no rules')}" if skipped else "") + "."
            + (f" {many(warnings, 'warning')}." if warnings else ""))


def _advised(rule: FoundRule, strict: bool) -> list[Finding]:
    """What there is to say of a rule that is sound: warnings, or that it is well."""
    from soc.detect.advice import advice

    return [Finding(one.path, one.line, one.message, one.remedy, "rule-warning", rule.title, strict) for one in advice(rule)] or [
        Finding(rule.path, rule.line, name=rule.title)]


def match(
    rules: Annotated[Path, typer.Argument(metavar="RULES", help="A rule file, a folder or a zip.", exists=True)],
    events: Annotated[list[str], typer.Argument(
        metavar="EVENTS…", help="Text, JSON or .evtx files, also packed (.gz .zst .bz2 .xz), or - for standard input.")],
    ignore_logsource: Annotated[bool, typer.Option("--ignore-logsource", help="Meet every event with every rule.")] = False,
    format: Annotated[str, typer.Option("--format", help="The parser; auto lets each record choose.")] = "auto",
    timezone: Annotated[str, typer.Option("--timezone", help="Zone of times without one.")] = "Asia/Ho_Chi_Minh",
    lists: _Lists = None,
    mappings: _Mappings = None,
    fail_on_match: Annotated[bool, typer.Option("--fail-on-match", help="Exit code 1 if there is a hit.")] = False,
    as_json: _Json = False,
) -> None:
    """Try rules on files, through the real parsers and engine. A line per hit: rule id, line of the event, matched fields.

    The line counts from 1; of several files it is file:line. Hits come as they are found, from a pipe that goes on too.
    No server and no data folder needed. Exit codes: 0 it ran, 1 a hit under --fail-on-match, 2 it could not run.
    """
    from soc.commands.rules_load import load_rules, together
    from soc.commands.rules_match import Matcher
    from soc.detect.pipelines import Pipelines

    loaded = load_rules([rules], lists)
    found, missing = together(loaded)
    mapping, faults = Pipelines.load(mappings) if mappings else (None, [])
    for error in [*loaded.faults, *faults]:
        say(f"refused {error.path}:{error.line}: {_reason(error)}")
    for error in missing:
        say(f"not run {error.path}:{error.line}: {_reason(error)}")
    quiet(as_json)
    runnable = len(found.rules) + len(found.correlations)
    if not found.rules:
        fail(f"{rules} holds no rule that can run", "`soc rules check` says why", CANNOT_RUN)
    gc.freeze()  # the rules stay: looking through them for garbage took a tenth of the time
    gc.set_threshold(100_000, 50, 50)  # records make no cycles
    matcher = Matcher(found, _now(), ignore_logsource=ignore_logsource, format=format, timezone=timezone, mapping=mapping)
    if format != "auto" and format not in matcher.parsers.by_name:
        fail(f"there is no parser {format!r}", f"auto, or one of: {', '.join(sorted(matcher.parsers.by_name))}", CANNOT_RUN)
    unread = _match_all(matcher, events, _Rows() if as_json else _Lines(several=len(events) > 1), bar=not as_json)
    totals = matcher.totals
    say(f"{many(totals.hits, 'hit')} of {many(runnable, 'rule')} in {many(totals.events, 'event')}; "
        f"{many(totals.dead, 'record')} could not be parsed.")
    for fault in [*(f"damaged: {fault}" for fault in totals.faults), *(f"error: {refused}" for refused in unread)]:
        typer.echo(inert(fault), err=True)
    if unread:
        raise typer.Exit(CANNOT_RUN)
    if fail_on_match and totals.hits:
        raise typer.Exit(1)


def run_samples(
    path: Annotated[Path | None, typer.Argument(metavar="[PATH]", help="A folder of rules; our own if not given.")] = None,
    require_samples: Annotated[bool, typer.Option("--require-samples", help="Each rule needs a sample that matches and one that does not.")] = False,
    format: _Format = Format.TEXT,
    output: _Output = None,
    as_json: _Json = False,
) -> None:
    """Run the samples beside rules (rule.samples.jsonl) through parser and engine; exit code 1 if one is judged wrongly."""
    from soc.commands.rules_samples import judge_samples, lacking
    from soc.content import content

    format = Format.JSON if as_json else format
    try:
        folder = path or content("rules")
    except NotFoundError:
        show([], [], as_json=format is Format.JSON, empty="There are no rules with samples here.")
        return
    results = judge_samples(folder, _now())
    lacks = lacking(folder, results) if require_samples else []
    missing = [Finding(str(rule), line, lack, "", "sample-missing", "samples") for rule, line, lack in lacks]
    wrong = sum(not row["passed"] for row in results)
    if format in (Format.TEXT, Format.JSON) and output is None:
        columns = ["rule", "line", "expected", "verdict", "fault"]
        show(results, columns, as_json=format is Format.JSON, empty=f"There are no samples under {folder}.")
        for lack in missing:
            typer.echo(inert(f"{lack.path}:{lack.line}: {lack.text}"), err=True)
    elif format in (Format.TEXT, Format.JSON):
        faults = [one for one in (*map(_judged, results), *missing) if one.message]
        text = "".join(f"{one.path}:{one.line}: {one.text}\n" for one in faults)
        _written(as_json_text(results, indent=1) + "\n" if format is Format.JSON else text, output)
    else:
        findings = [*map(_judged, results), *missing]
        _written(sarif(findings) if format is Format.SARIF else junit("soc rules test", findings), output)
    say(f"{many(len(results), 'sample')}, {wrong} wrong." + (f" {many(len(missing), 'rule lacks', 'rules lack')} samples." if missing else ""))
    if not results and not missing and format is Format.TEXT:
        say(_NO_SAMPLES)
    if wrong or missing:
        raise typer.Exit(1)


def _judged(row: dict[str, Any]) -> Finding:
    """A sample's verdict, at its place in the file of samples."""
    from soc.commands.rules_samples import SAMPLES

    words = {True: "matches", False: "does not match", None: "cannot be judged"}
    wrong = "" if row["passed"] else row["fault"] or f"it {words[row['verdict']]}, but should be one that {words[row['expected']]}"
    place = str(Path(row["rule"]).with_suffix("")) + SAMPLES
    return Finding(place, row["line"], wrong, "", "sample-wrong", f"{Path(row['rule']).stem} line {row['line']}")


def _written(text: str, output: Path | None) -> None:
    """Onto stdout, or as a file. Raises typer.Exit if that cannot be written."""
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{output}: {error.strerror or error}", "name a file that can be written with --output", CANNOT_RUN)


def convert(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Rule files, folders or zips.", exists=True)],
    to: Annotated[Target, typer.Option("--to", help="lucene, esql, eql (Elasticsearch) or kql (Kusto: Microsoft Sentinel and Defender).")],
    pipeline: Annotated[list[str] | None, typer.Option(
        "--pipeline", "-p", help="A field mapping such as ecs_windows, or a file of one; repeatable, applied in order.")] = None,
    lists: _Lists = None,
    output: _Output = None,
    as_json: _Json = False,
) -> None:
    """Give rules as queries of another engine, each behind a line with its id and title.

    What the target cannot say is named on stderr, and the rest goes on. Exit codes: 0 all, 1 some could not be given, 2 it could not run.
    No server and no data folder needed.
    """
    from soc.commands.rules_load import load_rules
    from soc.detect.convert import Query, convert_rules
    from soc.detect.lists import read_lists

    loaded = load_rules(paths, lists)
    try:
        found = convert_rules(loaded.rules, to, pipeline or [], read_lists(lists)[0])
    except InputRefused as refused:
        fail(refused.message, refused.remedy, CANNOT_RUN)
    queries = [one for one in found if isinstance(one, Query)]
    faults = [*loaded.faults, *(one for one in found if isinstance(one, RuleError))]
    if as_json:
        rows = [{"rule_id": one.rule.rule_id, "title": one.rule.title, "path": one.rule.path, "target": to.value, "queries": one.texts,
                 "note": one.note}
                for one in queries]
        _written(as_json_text(rows, indent=1) + "\n", output)
    else:
        lines = [line for one in queries for line in (f"# {one.rule.rule_id} {one.rule.title}", *one.texts)]
        _written("".join(inert(line) + "\n" for line in lines), output)
    for error in faults:
        typer.echo(inert(f"{error.path}:{error.line}: {_reason(error)}"), err=True)
    for one in queries:
        if one.note:
            typer.echo(inert(f"{one.rule.path}:{one.rule.line}: note: {one.note}"), err=True)
    say(f"{many(len(queries), 'rule')} as {to.value}, {len(faults)} could not be given.")
    if faults:
        raise typer.Exit(1)


# ---- how hits are written


class _Lines:
    """A line per hit: rule id, line (file:line of several files), matched fields; tabs between."""

    def __init__(self, *, several: bool) -> None:
        self._several = several

    def __enter__(self) -> _Lines:
        return self

    def write(self, hits: Sequence[FileHit]) -> None:
        for hit in hits:
            place = f"{hit.file}:{hit.line}" if self._several else str(hit.line)
            sys.stdout.write(inert(f"{hit.rule.rule_id}\t{place}\t{' '.join(hit.fields())}") + "\n")

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()


class _Rows:
    """One JSON array, a hit a line, written as it grows."""

    def __init__(self) -> None:
        self._some = False

    def __enter__(self) -> _Rows:
        sys.stdout.write("[")
        return self

    def write(self, hits: Sequence[FileHit]) -> None:
        for hit in hits:
            sys.stdout.write((",\n" if self._some else "\n") + as_json_text(hit.row()))
            self._some = True

    def __exit__(self, *_: object) -> None:
        sys.stdout.write("\n]\n" if self._some else "]\n")
        sys.stdout.flush()


def _match_all(matcher: Matcher, names: Sequence[str], out: _Lines | _Rows, *, bar: bool) -> list[InputRefused]:
    """Write the hits of all files; returns why some could not be read (to their end): the others go on."""
    from soc.commands.eventfile import EventFile
    from soc.commands.rules_match import last_hits, match_file

    unread: list[InputRefused] = []
    with _Bar(names, on=bar) as progress, out:
        for name in names:
            try:
                with EventFile(name) as file:
                    for hits in match_file(matcher, file):
                        out.write(hits)
                        if hits:
                            sys.stdout.flush()
                        progress.at(file.path, file.done(), matcher.totals.hits)
                    progress.ended(file.size)
            except InputRefused as refused:
                unread.append(refused)
        out.write(last_hits(matcher))
    return unread


class _Bar:
    """Bytes of all files, on a terminal; nothing elsewhere."""

    def __init__(self, names: Sequence[str], *, on: bool) -> None:
        self._progress: Any = None
        self._before = 0
        if on and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn(),
                console=Console(stderr=True, highlight=False), transient=True, redirect_stdout=sys.stdout.isatty())
            sizes = [os.path.getsize(name) if os.path.isfile(name) else None for name in names]
            self._task = self._progress.add_task("", total=None if None in sizes else sum(size or 0 for size in sizes))

    def __enter__(self) -> _Bar:
        if self._progress is not None:
            self._progress.start()
        return self

    def at(self, name: str, done: int, hits: int) -> None:
        """So many bytes of this file are read."""
        if self._progress is not None:
            self._progress.update(self._task, completed=self._before + done, description=inert(f"{name}: {hits} hits"))

    def ended(self, size: int) -> None:
        """A file of this size is done."""
        self._before += size

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()


def _reason(error: RuleError) -> str:
    return f"{error.message} ({error.remedy})" if error.remedy else error.message


def _now() -> int:
    return time.time_ns() // 1000
