"""Which fields of the public rules no parser of ours gives: per log source, from what the parsers' golden cases hold."""
from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from soc.detect.compiled import LogSource
from soc.detect.packs import read_pack
from soc.detect.pipelines import pipelines
from soc.detect.readiness import why_not
from soc.detect.rules import FoundRule, read_rules

PARSED = Path(__file__).resolve().parents[1] / "golden" / "parsers"
OPEN = ("winlog.event_data.", "auditd.")
"""Fields that a source names itself."""

NEVER = {
    ("", "webserver", ""): {"cs-content-type"},
    ("linux", "process_creation", ""): {"ParentImage", "ParentCommandLine"},
    ("linux", "network_connection", ""): {"DestinationHostname"},
}
"""Not in the lines: docs/detection-engine.md says why."""
JSON_ONLY = {"aws", "azure", "bitbucket", "fortigate", "fortios", "gcp", "github", "kubernetes", "m365", "okta", "onelogin", "opencanary", "zeek"}
JSON_CATEGORIES = {"proxy", "dns", "firewall"}
JSON_SERVICES = {"netflow", "duo"}
EVENT_LOG = {"windows", "rpc_firewall"}
"""Products whose every channel has one shape."""


@pytest.fixture(scope="module")
def rules(test_data: Path) -> list[FoundRule]:
    return [rule for file in read_pack(test_data / "sigma-rules.zip").files for rule in read_rules(file.path, file.data)[0]]


def given() -> dict[str, set[str]]:
    """Log sources of an event -> every field that events of these have in the golden cases of text and event logs."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in (path for path in PARSED.glob("*/*.expected.json") if path.parent.name != "json"):
        for row in json.loads(path.read_bytes()):
            event = row.get("event", {})
            found[event.get("soc.log_sources", "")] |= event.keys()
    return found


def is_json(source: LogSource) -> bool:
    """Whether the events come as JSON under names of their own: what a record holds is what rules meet."""
    return source.product in JSON_ONLY or source.category in JSON_CATEGORIES or source.service in JSON_SERVICES


def reachable(logsource: LogSource, field: str, fields: set[str]) -> bool:
    names = pipelines().names(logsource, field).fields
    open_ones = tuple(prefix for prefix in OPEN if any(one.startswith(prefix) for one in fields))
    return any(name in fields or name.startswith(open_ones) for name in names)


def test_only_these_fields_of_public_rules_are_given_by_no_parser(rules):
    by_source = given()
    missing: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for rule in rules:
        source = rule.logsource
        if rule.rule is None or why_not(source) or is_json(source):
            continue
        fields = set().union(*(names for triples, names in by_source.items()
                               if source.matches(triples) or (source.product in EVENT_LOG and "windows/" in triples)))
        for field in {atom.field for atom in rule.rule.unpacked().atoms} - {""}:
            if not reachable(source, field, fields):
                missing[(source.product, source.category, source.service)].add(field)
    assert dict(missing) == NEVER
