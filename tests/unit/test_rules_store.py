"""The rule store: packs replaced whole, a person's choices kept, a version that changes exactly when the enabled set does."""
from __future__ import annotations

import zipfile

import pytest

from soc.database import STATE, Database, sqlite_url
from soc.detect.compiled import FORMAT, CompiledRule, LogSource
from soc.detect.engine import Engine
from soc.detect.rulestore import RuleStore, entity_of
from soc.detect.ruletables import RULES
from soc.errors import InputRefused, NotFoundError, RuleError
from soc.store.columns import batch_of

A, B, C = (f"00000000-0000-4000-8000-00000000000{n}" for n in "abc")


def rule(rule_id: str, value: str = "x", product: str = "windows", level: str = "high", extra: str = "") -> str:
    return (f"title: Rule {rule_id[-1]}\nid: {rule_id}\nlevel: {level}\nlogsource: {{product: {product}, category: process_creation}}\n"
            f"detection: {{s: {{Image|contains: '{value}'}}, condition: s}}\n{extra}")


def pack(folder, name, **files):
    place = folder / f"{name}.zip"
    with zipfile.ZipFile(place, "w") as archive:
        for file, text in files.items():
            archive.writestr(f"rules/{file}.yml", text)
    return place


@pytest.fixture
def store(tmp_path):
    database = Database.open(sqlite_url(tmp_path / "state.db"), STATE)
    database.migrate()
    yield RuleStore(database)
    database.close()


def test_a_pack_is_switched_on_but_for_placeholders(store, tmp_path):
    waiting = rule(B).replace("Image|contains: 'x'", "Image|expand: '%them%'")
    report = store.import_pack(pack(tmp_path, "p", a=rule(A), b=waiting, bad="title: x\ntitle: y\n", c="a: 1\n"), now=7)
    assert (report.rules, report.added, report.enabled, report.off, report.placeholders) == (2, 2, 1, 1, 1)
    assert [(error.path, error.line) for error in report.refused] == [("rules/bad.yml", 2)]
    assert report.skipped == [("rules/c.yml", "YAML, but not a Sigma rule")]
    assert [found.rule_id for found in store.enabled()] == [A]
    assert [(one.path, one.line, one.at) for one in store.refusals()] == [("rules/bad.yml", 2, 7)]
    assert {row.rule_id: row.reason_off for row in store.list()} == {A: "", B: "placeholder %them%"}
    with pytest.raises(RuleError, match="placeholder"):
        store.enable([B], 8)


def test_off_leaves_new_rules_off_and_the_next_import_without_it_switches_them_on(store, tmp_path):
    store.import_pack(pack(tmp_path, "p", a=rule(A)), now=1, off=True)
    assert not store.enabled()
    store.import_pack(pack(tmp_path, "p", a=rule(A)), now=2)
    assert len(store.enabled()) == 1
    store.import_pack(pack(tmp_path, "p", a=rule(A), b=rule(B)), now=3, off=True)
    assert [found.rule_id for found in store.enabled()] == [A]


def test_what_a_person_switched_off_stays_off(store, tmp_path):
    store.import_pack(pack(tmp_path, "p", a=rule(A), b=rule(B)), now=1)
    assert store.disable([A, B], 2) == 2
    assert store.disable([A], 3) == 0
    assert store.enable([B], 4) == 1
    store.import_pack(pack(tmp_path, "p", a=rule(A, "changed"), b=rule(B)), now=5)
    assert [found.rule_id for found in store.enabled()] == [B]
    assert [row.reason_off for row in store.list(enabled=False)] == ["switched off"]


def test_a_pack_is_replaced_as_a_whole(store, tmp_path):
    store.import_pack(pack(tmp_path, "p", a=rule(A), b=rule(B), bad="title: x\ntitle: y\n"), now=1)
    store.import_pack(pack(tmp_path, "other", c=rule(C)), now=1)
    report = store.import_pack(pack(tmp_path, "p", a=rule(A, "y")), now=2)
    assert (report.added, report.changed, report.removed) == (0, 1, 1)
    assert {row.rule_id for row in store.list()} == {A, C}
    assert not store.refusals()


def test_single_files_are_added_to_the_local_pack(store, tmp_path):
    for name, text in (("a.yml", rule(A)), ("b.yml", rule(B))):
        (tmp_path / name).write_text(text)
        store.import_pack(tmp_path / name, now=1)
    assert {(row.rule_id, row.pack) for row in store.list()} == {(A, "local"), (B, "local")}


def test_one_id_belongs_to_one_pack_and_one_file(store, tmp_path):
    store.import_pack(pack(tmp_path, "p", a=rule(A)), now=1)
    report = store.import_pack(pack(tmp_path, "q", a=rule(A, "y"), b=rule(B), c=rule(B, "z")), now=2)
    assert sorted(error.path for error in report.refused) == ["rules/a.yml", "rules/c.yml"]
    assert {row.rule_id: row.pack for row in store.list()} == {A: "p", B: "q"}


def test_a_refused_pack_changes_nothing(store, tmp_path):
    store.import_pack(pack(tmp_path, "p", a=rule(A)), now=1)
    before = store.version()
    evil = tmp_path / "q.zip"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("good.yml", rule(B))
        archive.writestr("../bad.yml", rule(C))
    with pytest.raises(InputRefused):
        store.import_pack(evil, now=2)
    assert [row.rule_id for row in store.list()] == [A]
    assert store.version() == before


def test_the_version_changes_exactly_with_the_enabled_set(store, tmp_path):
    versions = [store.version()]
    store.import_pack(pack(tmp_path, "p", a=rule(A), b=rule(B)), now=1)
    versions.append(store.version())
    store.import_pack(pack(tmp_path, "p", a=rule(A), b=rule(B)), now=2)
    assert store.version() == versions[-1]
    store.disable([A], 3)
    versions.append(store.version())
    store.import_pack(pack(tmp_path, "p", a=rule(A), b=rule(B, "y")), now=4)
    versions.append(store.version())
    assert len(set(versions)) == 4
    store.import_pack(pack(tmp_path, "p", a=rule(A), b=rule(B)), now=5)
    assert store.version() == versions[2]


def test_switching_unknown_rules_changes_nothing(store, tmp_path):
    store.import_pack(pack(tmp_path, "p", a=rule(A)), now=1)
    with pytest.raises(NotFoundError):
        store.disable([A, B], 2)
    assert len(store.enabled()) == 1
    with pytest.raises(NotFoundError):
        store.show(B)


def test_lists_filter_and_say_what_cannot_fire(store, tmp_path):
    store.import_pack(pack(tmp_path, "p", a=rule(A, level="low"), b=rule(B, product="macos"), c=rule(C, level="critical")), now=1)
    assert [row.level for row in store.list()] == ["critical", "high", "low"]
    assert [row.rule_id for row in store.list(product="macos")] == [B]
    assert store.list(product="macos")[0].why_not == "no source here sends macos events"
    assert store.list(product="macos")[0].enabled
    assert store.count(level="low") == 1
    assert [row.rule_id for row in store.list(text="rule C")] == [C]
    assert [row.rule_id for row in store.list(limit=1, offset=1)] == [B]
    assert store.show(A)[1].startswith("title: Rule a")


def test_rules_compiled_by_an_older_version_are_compiled_anew(store, tmp_path):
    store.import_pack(pack(tmp_path, "p", a=rule(A, extra="soc_entity: user.name\n")), now=1)
    with store._database.write() as c:
        c.execute(RULES.update().values(format=FORMAT - 1, compiled=b"\x00"))
    found = store.enabled()
    assert (found[0].rule_id, found[0].entity) == (A, "user.name")
    event = {"winlog.event_data.Image": "axb", "soc.log_sources": "windows/process_creation/"}
    assert Engine(found).match(batch_of([event]))


@pytest.mark.parametrize("entity, event, expected", [
    ("", {"host.name": "pc", "source.ip": "10.0.0.1", "user.name": "an"}, ("pc", "host")),
    ("", {"source.ip": "10.0.0.1", "user.name": "an"}, ("10.0.0.1", "address")),
    ("", {"user.name": ["an", "binh"]}, ("an", "user")),
    ("", {}, ("unknown", "host")),
    ("user.name", {"host.name": "pc", "user.name": "an"}, ("an", "user")),
    ("user.name", {"host.name": "pc"}, ("pc", "host")),
    ("winlog.event_data.TargetUserName", {"winlog.event_data.TargetUserName": "x"}, ("x", "user")),
])
def test_alerts_are_kept_by_the_rules_entity_else_host_address_user(entity, event, expected):
    assert entity_of(CompiledRule("r", "1", "t", "low", (), LogSource(), b"", entity), event) == expected
