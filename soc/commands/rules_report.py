"""What was found in rules, as an agency's CI reads it: SARIF 2.1.0 for code scanning, JUnit XML for test reports.

SARIF: OASIS Standard "Static Analysis Results Interchange Format 2.1.0", sections 3.13 to 3.30. JUnit: the schema that Jenkins and GitLab read.
"""
from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from itertools import groupby
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

__all__ = ["Finding", "Format", "junit", "sarif"]

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, section 2.2."""
_KINDS: Final = {
    "rule-fault": "A rule that cannot be taken",
    "rule-warning": "A rule that does less than it seems to",
    "sample-wrong": "A sample that is judged wrongly",
    "sample-missing": "A rule without enough samples",
}


class Format(StrEnum):
    """How findings are written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found, or (`message` "") one thing that is well. `line` counts from 1; `kind` is a key of the report."""

    path: str
    line: int
    message: str = ""
    remedy: str = ""
    kind: str = "rule-fault"
    name: str = ""
    """What was looked at: a rule's title, a sample. Findings in a row of one name and file are one test case."""
    strict: bool = False
    """Whether a warning fails too."""

    @property
    def text(self) -> str:
        """The message and what to do about it."""
        return f"{self.message} ({self.remedy})" if self.remedy else self.message

    @property
    def fails(self) -> bool:
        """Whether it is a fault, rather than well or a mere warning."""
        return bool(self.message) and (self.strict or self.kind != "rule-warning")


def sarif(findings: Sequence[Finding]) -> str:
    """The findings that are not well, as one SARIF run."""
    used = [kind for kind in _KINDS if any(one.kind == kind and one.message for one in findings)]
    run = {
        "tool": {"driver": {
            "name": "soc rules", "version": version("soc"), "semanticVersion": version("soc"),
            "rules": [{"id": kind, "shortDescription": {"text": _KINDS[kind]}} for kind in used]}},
        "columnKind": "utf16CodeUnits",
        "results": [_result(one, used.index(one.kind)) for one in findings if one.message],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=False, indent=2) + "\n"


def _result(one: Finding, index: int) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": _uri(one.path)}, "region": {"startLine": max(1, one.line)}}
    return {"ruleId": one.kind, "ruleIndex": index, "level": "error" if one.fails else "warning",
            "message": {"text": one.text}, "locations": [{"physicalLocation": place}]}


def _uri(path: str) -> str:
    """A path as a relative or file URI (RFC 3986)."""
    shown = PurePath(path).as_posix().encode("utf-8", "surrogateescape")
    return f"file://{quote(shown)}" if path.startswith("/") else quote(shown)


def junit(suite: str, findings: Sequence[Finding]) -> str:
    """A test case for everything looked at, by file; faults are failures, warnings are their output."""
    cases = [list(group) for _, group in groupby(findings, key=lambda one: (one.path, one.name or one.line))]
    failures = sum(any(one.fails for one in case) for case in cases)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>',
             f'<testsuites tests="{len(cases)}" failures="{failures}" errors="0">',
             f'  <testsuite name={_attribute(suite)} tests="{len(cases)}" failures="{failures}" errors="0" skipped="0" time="0">',
             *map(_case, cases)]
    return "\n".join([*lines, "  </testsuite>", "</testsuites>"]) + "\n"


def _case(findings: Sequence[Finding]) -> str:
    """One test case: well if none of its findings has a message."""
    first = findings[0]
    head = (f"    <testcase classname={_attribute(first.path)} name={_attribute(first.name or f'line {first.line}')} "
            f'file={_attribute(first.path)} line="{max(1, first.line)}" time="0"')
    text = _content("\n".join(f"{one.path}:{one.line}: {one.text}" for one in findings if one.message))
    worst = next((one for one in findings if one.fails), first)
    if worst.fails:
        return f"{head}><failure message={_attribute(worst.message)} type={_attribute(worst.kind)}>{text}</failure></testcase>"
    return f"{head}><system-out>{text}</system-out></testcase>" if text else f"{head}/>"


def _content(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("\ufffd", text))
