"""Sigma rules as queries of other engines, by pySigma's backends and pipelines (those that sigma-cli finds).

Rules are parsed anew for each run: a pipeline changes what it is applied to. What a target cannot say is refused rule by rule.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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


@dataclass(frozen=True, slots=True)
class Query:
    """The queries that one rule becomes in the target language: most often one."""

    rule: FoundRule
    texts: tuple[str, ...]


def convert_rules(rules: Sequence[FoundRule], target: Target, pipelines: Sequence[str]) -> Iterator[Query | RuleError]:
    """Of each rule and correlation its query, or why the target cannot say it. Filters go into the rules they name.

    `pipelines` are names that sigma-cli lists, or files of pySigma's format. Raises InputRefused for one that is neither.
    """
    from sigma.collection import SigmaCollection
    from sigma.exceptions import SigmaError
    from sigma.rule import SigmaRule

    known = {one.rule_id: one for one in rules}
    named = {one.name: one for one in rules if one.name}
    try:
        collection = SigmaCollection.from_yaml("\n---\n".join(one.source for one in rules), collect_errors=True)
        collection.resolve_rule_references()
    except SigmaError as error:
        raise InputRefused(f"these rules cannot be converted together: {error}", remedy="`soc rules check` says which are at fault") from None
    backend = _backend(target, pipelines)
    backend.init_processing_pipeline("default")
    for parsed in collection.rules:
        found = known.get(str(parsed.id)) or named.get(str(parsed.name)) or _by_title(rules, parsed.title)
        if found is None:
            continue
        try:
            convert = backend.convert_rule if isinstance(parsed, SigmaRule) else backend.convert_correlation_rule
            texts = tuple(str(one) for one in convert(parsed, "default"))
        except (SigmaError, NotImplementedError) as error:
            yield RuleError(f"{target} cannot say it: {_plain(error)}", path=found.path, line=found.line)
            continue
        if texts:  # rules that only serve a correlation have none of their own
            yield Query(found, texts)


def _by_title(rules: Sequence[FoundRule], title: str) -> FoundRule | None:
    return next((one for one in rules if one.title == title), None)


def _plain(error: Exception) -> str:
    """The reason without pySigma's "(while converting rule …)"."""
    return str(error).partition(" (while ")[0].strip() or type(error).__name__


def _backend(target: Target, pipelines: Sequence[str]) -> Any:
    from sigma.plugins import InstalledSigmaPlugins
    from sigma.processing.pipeline import ProcessingPipeline

    plugins: Any = InstalledSigmaPlugins.autodiscover()
    resolver = plugins.get_pipeline_resolver()
    whole = ProcessingPipeline()
    for name in pipelines:
        if name not in plugins.pipelines and not Path(name).is_file():
            raise InputRefused(f"there is no pipeline {name!r}", remedy=f"a file, or one of: {', '.join(sorted(plugins.pipelines))}")
        try:
            whole += resolver.resolve_pipeline(name, target=None)
        except Exception as error:
            raise InputRefused(f"the pipeline {name} cannot be read: {error}", remedy="pySigma documents processing pipelines") from error
    return plugins.backends[_BACKENDS.get(target, target.value)](whole)
