"""What an administrator keeps beside the rules: lists for placeholders, and field mappings, as files."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
WAITING = """title: Logon on a server
id: 00000000-0000-4000-8000-0000000000a1
level: high
logsource: {product: windows, service: security}
detection:
    selection:
        EventID: 4624
        Computer|expand: '%Servers%'
    condition: selection
"""
PLAIN = """title: Any logon
id: 00000000-0000-4000-8000-0000000000a2
level: low
logsource: {product: windows, service: security}
detection:
    selection:
        EventID: 4624
    condition: selection
"""
LOGONS = [{"Channel": "Security", "EventID": 4624, "Hostname": name} for name in ("srv-01.example.vn", "db01", "pc-17")]


@pytest.fixture
def soc(tmp_path):
    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "soc.cli", "--data", str(tmp_path / "data"), *words], capture_output=True, text=True, cwd=tmp_path,
            timeout=120, check=False, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
        assert done.returncode == code, done.stdout + done.stderr
        return done
    return run


@pytest.fixture
def waiting(soc, tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "waiting.yml").write_text(WAITING)
    (tmp_path / "pack" / "plain.yml").write_text(PLAIN)
    soc("rules", "import", "pack")
    return state(soc)


def state(soc) -> dict[str, tuple[bool, str, str]]:
    rows = json.loads(soc("rules", "list", "--json").stdout)
    return {row["path"]: (row["enabled"], row["reason_off"], row["version"]) for row in rows}


def keep(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "data" / "lists").mkdir(exist_ok=True)
    (tmp_path / "data" / "lists" / name).write_text(text, encoding="utf-8")


def test_a_rule_waits_for_its_list_and_says_so(soc, waiting):
    assert waiting["waiting.yml"][:2] == (False, "placeholder %Servers%")
    said = soc("rules", "enable", "00000000-0000-4000-8000-0000000000a1", code=1).stderr
    assert "placeholder %Servers%" in said
    assert "data/lists" in said.replace("\n", "")


def test_the_list_appears_and_enable_switches_the_rule_on(soc, waiting, tmp_path):
    keep(tmp_path, "hosts.yml", "servers: ['srv-*', db01]\n")
    assert "1 switched on" in soc("rules", "enable", "00000000-0000-4000-8000-0000000000a1").stderr
    assert state(soc)["waiting.yml"][:2] == (True, "")


def test_the_next_import_of_anything_switches_it_on_and_follows_the_list(soc, waiting, tmp_path):
    keep(tmp_path, "Servers.txt", "# our servers\nsrv-*\n\ndb01\n")
    (tmp_path / "other.yml").write_text(PLAIN.replace("0a2", "0a3"))
    assert json.loads(soc("rules", "import", "other.yml", "--json").stdout)["filled"] == 1
    first = state(soc)["waiting.yml"]
    assert first[:2] == (True, "")
    keep(tmp_path, "Servers.txt", "srv-*\n")
    soc("rules", "import", "other.yml")
    assert state(soc)["waiting.yml"][2] not in (first[2], waiting["waiting.yml"][2])


def test_what_a_person_switched_off_stays_off_when_its_list_comes_or_changes(soc, waiting, tmp_path):
    keep(tmp_path, "Servers.txt", "db01\n")
    soc("rules", "import", "pack")
    soc("rules", "disable", "00000000-0000-4000-8000-0000000000a1")
    keep(tmp_path, "Servers.txt", "db02\n")
    soc("rules", "import", "pack")
    assert state(soc)["waiting.yml"][:2] == (False, "switched off")


def test_a_bad_list_is_named_with_its_line_and_the_others_are_used(soc, waiting, tmp_path):
    keep(tmp_path, "bad.yml", "admins: [an]\nservers:\n    - {a: b}\n")
    keep(tmp_path, "good.yml", "servers: [db01]\n")
    report = json.loads(soc("rules", "import", "pack", "--json").stdout)
    assert [(Path(one["path"]).name, one["line"]) for one in report["refused"]] == [("bad.yml", 2)]
    assert state(soc)["waiting.yml"][0]
    keep(tmp_path, "twice.yml", "Servers: [db02]\n")
    finding = [row for row in json.loads(soc("doctor", "--json", code=1).stdout) if row["check"] == "lists and mappings"]
    assert any("twice.yml:1" in row["found"] and "already in good.yml" in row["found"] for row in finding)


def test_match_and_check_take_lists_without_a_data_folder(soc, tmp_path):
    (tmp_path / "rule.yml").write_text(WAITING)
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, LOGONS)))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "Servers.txt").write_text("srv-*\ndb01\n")
    done = soc("rules", "match", "rule.yml", "events.jsonl", "--lists", "lists")
    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == ["1", "2"]
    assert "rule.yml:8: warning: it waits for the list of %Servers%" in soc("rules", "check", "rule.yml").stdout
    assert "wait for the list" not in soc("rules", "check", "rule.yml", "--lists", "lists").stderr


def test_a_mapping_of_ones_own_comes_before_ours(soc, tmp_path):
    (tmp_path / "rule.yml").write_text(PLAIN.replace("EventID: 4624", "Building: Hall 3"))
    (tmp_path / "events.jsonl").write_text(json.dumps(LOGONS[0] | {"SiteName": "hall 3"}))
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "sites.yml").write_text(
        "logsource: {product: windows}\nfields:\n    Building: winlog.event_data.SiteName\n")
    assert soc("rules", "match", "rule.yml", "events.jsonl").stdout == ""
    assert soc("rules", "match", "rule.yml", "events.jsonl", "--mappings", "mappings").stdout.startswith("00000000")


@pytest.mark.parametrize("text, line, words", [
    ("logsorce: {product: windows}\n", 1, "did you mean logsource"),
    ("logsource: {produkt: windows}\n", 1, "did you mean product"),
    ("logsource: {product: windows}\nfields:\n    A: b\n    C: []\n", 4, "C: [] names no fields"),
    ("logsource: {product: windows}\nfields: [A]\n", 2, "fields: a mapping"),
    ("logsource: {product: windows}\n\nprefixes: x\n", 3, "prefixes: a list"),
    ("logsource: [windows]\n", 1, "logsource"),
    ("a: 1\n---\nb: 2\n", 0, "one YAML document"),
    ("fields:\n    a: b\n    a: c\n", 3, "twice"),
])
def test_a_bad_mapping_is_named_with_file_and_line(soc, tmp_path, text, line, words):
    soc("rules", "list")
    (tmp_path / "data" / "mappings").mkdir()
    (tmp_path / "data" / "mappings" / "sites.yml").write_text(text)
    found = [row["found"] for row in json.loads(soc("doctor", "--json", code=1).stdout) if row["check"] == "lists and mappings"]
    assert len(found) == 1
    assert words in found[0]
    assert ("sites.yml:" + str(line) if line else "sites.yml: ") in found[0]
