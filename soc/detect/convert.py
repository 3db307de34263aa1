"""Sigma rules as queries of other engines, by pySigma's backends and pipelines (those that sigma-cli finds).

Rules are parsed anew for each run: a pipeline changes what it is applied to. What a target cannot say is refused rule by rule.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from soc.detect.lists import Lists
from soc.detect.yamltext import read_documents
from soc.errors import InputRefused, RuleError

if TYPE_CHECKING:
    from soc.detect.rules import FoundRule

__all__ = ["Query", "Target", "convert_rules"]


class Target(StrEnum):
    """A query language."""

    LUCENE = "lucene"
    ESQL = "esql"
    EQL = "eql"
    KQL = "kql"


_BACKENDS: Final = {Target.KQL: "kusto"}
"""Where pySigma's name of the backend is another."""
_SAID: Final = {
    "String value expressions are not supported": "it has no search for keywords without a field",
    "handle field references": "it cannot compare two fields",
    "Field reference expression is not supported": "it cannot compare two fields",
    "Unable to determine table name": "the pipeline knows no table for its log source",
    "Attempt to convert unhandled placeholder": "a placeholder has no list; --lists names the folder of lists",
}
"""Our words for frequent reasons of the backends, by a part of theirs."""
_ANCHORED: Final = "its regular expression must match whole values there, without (?i), \\b and look-around: it may find less"
"""Elasticsearch runs Lucene's regular expressions: always anchored (Elastic's "Regular expression syntax")."""
_PLACEHOLDER: Final = re.compile(r"%([^%\s]+)%")
_DEEPEST: Final = 100


@dataclass(frozen=True, slots=True)
class Query:
    """The queries that one rule becomes in the target language: most often one. `note` says in what they fall short."""

    rule: FoundRule
    texts: tuple[str, ...]
    note: str = ""


def convert_rules(rules: Sequence[FoundRule], target: Target, pipelines: Sequence[str], lists: Lists) -> list[Query | RuleError]:
    """Of each rule and correlation, in order, its query or why the target cannot say it. Filters go into the rules they name.

    `pipelines` are names that sigma-cli lists, or files of pySigma's format. Raises InputRefused for one that is neither.
    Placeholders are filled from `lists`. Rules that only serve a correlation have no query of their own.
    """
    backend = _backend(target, [_filling(rules, lists), *_pipelines(pipelines)])
    backend.init_processing_pipeline("default")
    found: list[Query | RuleError] = []
    for one in _parsed(rules):
        rule, fault = one.rule, one.fault
        texts: tuple[str, ...] = ()
        try:
            if not fault:
                convert = backend.convert_rule if rule.kind == "rule" else backend.convert_correlation_rule
                texts = tuple(str(text) for text in convert(one.parsed, "default"))
        except Exception as error:  # noqa: BLE001 - backends are not ours: whatever one throws refuses this rule and no other
            fault = _plain(error)
        if texts:
            found.append(Query(rule, texts, _ANCHORED if target is not Target.KQL and _has_regex(rule) else ""))
        elif fault or not one.serves:
            reason = fault or "nothing of it is left once the pipeline is applied"
            found.append(RuleError(f"{target} cannot say it: {reason}", path=rule.path, line=rule.line))
    order = {(one.path, one.line): place for place, one in enumerate(rules)}
    return sorted(found, key=lambda one: order[(one.rule.path, one.rule.line) if isinstance(one, Query) else (one.path, one.line)])


@dataclass(slots=True)
class _Parsed:
    """A rule as pySigma has it, or why it has none; `serves`: only a correlation needs it, so it has no query of its own."""

    rule: FoundRule
    parsed: Any
    fault: str = ""
    serves: bool = False


def _parsed(rules: Sequence[FoundRule]) -> list[_Parsed]:
    """Filters applied, what others refer to before those. From our reading of the YAML, where `no` is text."""
    from sigma.collection import SigmaCollection
    from sigma.correlations import SigmaCorrelationRule
    from sigma.exceptions import SigmaError
    from sigma.filters import SigmaFilter
    from sigma.rule import SigmaRule

    from soc.detect.modifiers import install

    install()
    kinds: dict[str, Any] = {"rule": SigmaRule, "correlation": SigmaCorrelationRule, "filter": SigmaFilter}
    documents = [read_documents(one.source.encode("utf-8", "surrogatepass"))[0].value for one in rules]
    collection = SigmaCollection(
        [kinds[rule.kind].from_dict(value) for rule, value in zip(rules, documents, strict=True)], resolve_references=False)
    found = [_Parsed(*pair) for pair in zip((one for one in rules if one.kind != "filter"), collection.rules, strict=True)]
    served: set[int] = set()
    for one in found:
        if isinstance(one.parsed, SigmaCorrelationRule):
            try:
                one.parsed.resolve_rule_references(collection)
            except SigmaError as error:
                one.fault = _plain(error)
                continue
            served |= set() if one.parsed.generate else {id(below.rule) for below in one.parsed.referenced_rules}
    for one in found:
        one.serves = id(one.parsed) in served
    return sorted(found, key=lambda one: 0 if one.fault else _depth(one.parsed))


def _has_regex(rule: FoundRule) -> bool:
    return rule.kind == "rule" and rule.rule is not None and any(atom.test == "re" for atom in rule.rule.unpacked().atoms)


def _depth(parsed: Any, seen: int = 0) -> int:
    """How many correlations stand on each other below this rule; rules are 0. Circles, which the lint refuses, end."""
    below = [one.rule for one in getattr(parsed, "referenced_rules", ())]
    return 0 if not below or seen > _DEEPEST else 1 + max(_depth(one, seen + 1) for one in below)


def _plain(error: Exception) -> str:
    """The reason in our words, or pySigma's without its "(while converting rule …)" and without saying it twice."""
    text = " ".join(str(error).partition(" (while ")[0].split())
    once = ". ".join(dict.fromkeys(one.rstrip(".") for one in text.split(". ")))[:300]
    return next((ours for theirs, ours in _SAID.items() if theirs in text), once) or type(error).__name__


def _filling(rules: Sequence[FoundRule], lists: Lists) -> Any:
    """A pipeline that fills the placeholders that have a list. pySigma's names of variables have case, ours have none."""
    from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
    from sigma.processing.transformations import ValueListPlaceholderTransformation

    names = {name for rule in rules for name in _PLACEHOLDER.findall(rule.source) if name.casefold() in lists}
    if not names:
        return ProcessingPipeline()
    fill = ProcessingItem(ValueListPlaceholderTransformation(include=sorted(names)))
    return ProcessingPipeline(items=[fill], vars={name: list(lists[name.casefold()]) for name in names})


def _pipelines(names: Sequence[str]) -> Iterator[Any]:
    from sigma.plugins import InstalledSigmaPlugins

    plugins: Any = InstalledSigmaPlugins.autodiscover()
    resolver = plugins.get_pipeline_resolver()
    for name in names:
        if name not in plugins.pipelines and not Path(name).is_file():
            raise InputRefused(f"there is no pipeline {name!r}", remedy=f"a file, or one of: {', '.join(sorted(plugins.pipelines))}")
        try:
            yield resolver.resolve_pipeline(name, target=None)
        except Exception as error:
            raise InputRefused(f"the pipeline {name} cannot be read: {error}", remedy="pySigma documents processing pipelines") from error


def _backend(target: Target, pipelines: Sequence[Any]) -> Any:
    from sigma.plugins import InstalledSigmaPlugins
    from sigma.processing.pipeline import ProcessingPipeline

    plugins: Any = InstalledSigmaPlugins.autodiscover()
    whole = ProcessingPipeline()
    for one in pipelines:
        whole += one
    return plugins.backends[_BACKENDS.get(target, target.value)](whole)
