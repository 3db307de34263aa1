"""`soc rules check|test|convert` in an agency's own CI: reports that other programs read, and the documented commands."""
from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
GOOD = """title: Sudo to root <shell> & more
id: 00000000-0000-4000-8000-000000000001
name: root_shell
level: high
logsource: {product: linux, service: sudo}
detection:
    shell: ['COMMAND=/bin/bash']
    condition: shell
"""
SUDO = "Nov 20 08:00:01 web01 sudo:      an : TTY=pts/0 ; PWD=/home/an ; USER=root ; COMMAND={}"
OFTEN = """title: Root shells often
id: 00000000-0000-4000-8000-000000000009
level: high
correlation:
    type: event_count
    rules: [root_shell]
    group-by: [user.name]
    timespan: 5m
    condition: {gte: 3}
"""


FILTER = """title: Not the administrator
id: 00000000-0000-4000-8000-000000000010
logsource: {product: linux, service: sudo}
filter:
    rules: [00000000-0000-4000-8000-000000000001]
    admin: {user.name: an}
    condition: not admin
"""


def sample(match: bool, command: str) -> str:
    return json.dumps({"match": match, "raw": SUDO.format(command)}) + "\n"


@pytest.fixture
def soc(tmp_path):
    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, "-m", "soc.cli", *words], capture_output=True, text=True, cwd=tmp_path, timeout=240, check=False,
                              env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
        return done
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "good.yml").write_text(GOOD)
    (folder / "good.samples.jsonl").write_text(sample(True, "/bin/bash") + sample(False, "/bin/ls"))
    return run


def spoil(tmp_path: Path) -> None:
    (tmp_path / "rules" / "bad one.yml").write_text(GOOD.replace("000001", "000002").replace("condition: shell", "condition: other"))
    (tmp_path / "rules" / "mac.yml").write_text(GOOD.replace("000001", "000003").replace("linux", "macos"))


def test_a_check_as_sarif_names_file_line_and_level(soc, tmp_path):
    spoil(tmp_path)
    report = json.loads(soc("rules", "check", "rules", "--format", "sarif", code=1).stdout)
    assert report["version"] == "2.1.0"
    (run,) = report["runs"]
    ids = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    found = {}
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        found[place["artifactLocation"]["uri"]] = (result["level"], place["region"]["startLine"], result["message"]["text"])
    assert found == {
        "rules/bad%20one.yml": ("error", 8, "condition: there is no selection 'other'"),
        "rules/mac.yml": ("warning", 5, "no source here sends macos events")}


def test_a_check_as_junit_has_a_case_per_rule(soc, tmp_path):
    spoil(tmp_path)
    soc("rules", "check", "rules", "--format", "junit", "--output", "check.xml", code=1)
    suite = ElementTree.parse(tmp_path / "check.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    cases = {case.get("classname"): case for case in suite}
    assert cases["rules/good.yml"].get("name") == "Sudo to root <shell> & more"
    assert len(cases["rules/good.yml"]) == 0
    assert "bad one.yml:8:" in (cases["rules/bad one.yml"].findtext("failure") or "")
    assert "macos" in (cases["rules/mac.yml"].findtext("system-out") or "")


def test_what_xml_cannot_hold_does_not_break_a_report(soc, tmp_path):
    (tmp_path / "rules" / "odd.yml").write_text(GOOD.replace("000001", "000004").replace("Sudo to root <shell> & more", '"x\\x1b[31m ]]> \\ufffe"'))
    report = soc("rules", "check", "rules", "--format", "junit").stdout
    assert {case.get("name") for case in ElementTree.fromstring(report)[0]} == {"Sudo to root <shell> & more", "x\ufffd[31m ]]> \ufffd"}


def test_warnings_fail_only_under_strict(soc, tmp_path):
    (tmp_path / "rules" / "mac.yml").write_text(GOOD.replace("000001", "000003").replace("linux", "macos"))
    assert "rules/mac.yml:5: warning: no source here sends macos events" in soc("rules", "check", "rules").stdout
    soc("rules", "check", "rules", "--strict", code=1)
    strict = soc("rules", "check", "rules", "--strict", "--format", "junit", code=1).stdout
    assert ElementTree.fromstring(strict)[0].get("failures") == "1"
    (row,) = json.loads(soc("rules", "check", "rules", "--json").stdout)
    assert (row["level"], row["path"], row["line"]) == ("warning", "rules/mac.yml", 5)


def test_the_public_pack_gets_warnings_that_are_true(soc, test_data):
    rows = json.loads(soc("rules", "check", str(test_data / "sigma-rules.zip"), "--json").stdout)
    others = [row for row in rows if not row["reason"].startswith(("no source here", "it waits for the list"))]
    stars = {Path(row["path"]).name for row in others if "looks for a star itself" in row["reason"]}
    assert stars == {"proc_creation_win_malware_ursnif_cmd_redirection.yml", "proc_creation_win_susp_script_exec_from_compressed_parent.yml"}
    assert {row["reason"].partition(" fires it")[0] for row in others if "looks for a star itself" not in row["reason"]} == {
        "an event without any of these fields"}
    assert len(others) == 7
    assert all(row["line"] > 1 for row in rows)


def test_rules_that_cannot_fire_are_listed_alone(soc, tmp_path):
    (tmp_path / "rules" / "mac.yml").write_text(GOOD.replace("000001", "000003").replace("name: root_shell\n", "").replace("linux", "macos"))
    soc("--data", "data", "rules", "import", "rules")
    listed = json.loads(soc("--data", "data", "rules", "list", "--cannot-fire", "--limit", "1", "--json").stdout)
    assert [(row["path"], row["why"]) for row in listed] == [("mac.yml", "no source here sends macos events")]
    assert json.loads(soc("--data", "data", "rules", "list", "--cannot-fire", "--product", "linux", "--json").stdout) == []


def test_samples_as_reports(soc, tmp_path):
    assert ElementTree.fromstring(soc("rules", "test", "rules", "--format", "junit").stdout)[0].get("failures") == "0"
    (tmp_path / "rules" / "good.samples.jsonl").write_text(sample(True, "/bin/bash") + sample(True, "/bin/ls"))
    report = json.loads(soc("rules", "test", "rules", "--format", "sarif", "--require-samples", code=1).stdout)
    found = [(r["ruleId"], r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], r["locations"][0]["physicalLocation"]["region"]["startLine"],
              r["message"]["text"]) for r in report["runs"][0]["results"]]
    assert found == [
        ("sample-wrong", "rules/good.samples.jsonl", 2, "it does not match, but should be one that matches"),
        ("sample-missing", "rules/good.yml", 1, "it has no sample that must not match")]
    soc("rules", "test", "rules", "--output", "samples.txt", code=1)
    assert (tmp_path / "samples.txt").read_text().startswith("rules/good.samples.jsonl:2: it does not match")
    soc("rules", "test", "rules", "--format", "sarif", "--output", "absent/folder.sarif", code=2)


@pytest.mark.parametrize("target, text", [
    ("lucene", "*COMMAND\\=\\/bin\\/bash*"), ("eql", 'any where "COMMAND=/bin/bash"'), ("kql", '"COMMAND=/bin/bash"')])
def test_rules_become_queries(soc, target, text):
    assert soc("rules", "convert", "rules", "--to", target).stdout.splitlines() == [
        "# 00000000-0000-4000-8000-000000000001 Sudo to root <shell> & more", text]


def test_what_a_target_cannot_say_is_named_and_the_rest_goes_on(soc, tmp_path):
    (tmp_path / "rules" / "field.yml").write_text(
        GOOD.replace("000001", "000005").replace("name: root_shell\n", "").replace("['COMMAND=/bin/bash']", "{Image|endswith: '\\cmd.exe'}"))
    done = soc("rules", "convert", "rules", "--to", "esql", "--json", code=1)
    assert [(row["rule_id"][-1], row["queries"]) for row in json.loads(done.stdout)] == [
        ("5", ['from * metadata _id, _index, _version | where ends_with(Image, "\\\\cmd.exe")'])]
    assert "rules/good.yml:1: esql cannot say it" in done.stderr
    assert "there is no pipeline 'nonsense'" in soc("rules", "convert", "rules", "--to", "eql", "-p", "nonsense", code=2).stderr
    mapped = soc("rules", "convert", "rules/field.yml", "--to", "lucene", "-p", "ecs_windows")
    assert "Image:*\\\\cmd.exe" in mapped.stdout  # the pipeline speaks of Windows only


def test_values_stay_what_the_rule_says(soc, tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "Tools.txt").write_text("psexec.exe\nmimi*.exe\n")
    (tmp_path / "typed.yml").write_text(GOOD.replace(
        "['COMMAND=/bin/bash']", "{When: 2025-01-01, Answer: no, Code: 0x1410, Image|expand: '%tools%'}"))
    said = soc("rules", "convert", "typed.yml", "--to", "lucene", "--lists", "lists").stdout.splitlines()[1]
    assert said == "When:2025\\-01\\-01 AND Answer:no AND Code:0x1410 AND (Image:(psexec.exe OR mimi*.exe))"
    refused = soc("rules", "convert", "typed.yml", "--to", "lucene", code=1)
    assert "typed.yml:1: lucene cannot say it: a placeholder has no list; --lists names the folder of lists" in refused.stderr


def test_what_is_not_quite_the_same_is_noted(soc, tmp_path):
    (tmp_path / "regex.yml").write_text(GOOD.replace("['COMMAND=/bin/bash']", "{CommandLine|re|i: 'a.*b'}"))
    assert "regex.yml:1: note: its regular expression must match whole values" in soc("rules", "convert", "regex.yml", "--to", "lucene").stderr
    assert "note" not in soc("rules", "convert", "regex.yml", "--to", "kql").stderr


def test_a_rule_that_a_pipeline_leaves_nothing_of_is_named(soc, tmp_path):
    (tmp_path / "drop.yml").write_text("name: drop\npriority: 1\ntransformations:\n  - {id: gone, type: drop_detection_item, field_name_conditions: "
                                       "[{type: include_fields, fields: [Image]}]}\n")
    (tmp_path / "field.yml").write_text(GOOD.replace("['COMMAND=/bin/bash']", "{Image: x}"))
    said = soc("rules", "convert", "field.yml", "--to", "lucene", "-p", "drop.yml", code=1)
    assert said.stdout == ""
    assert "field.yml:1: lucene cannot say it" in said.stderr


def test_filters_go_into_the_queries_of_their_rules(soc, tmp_path):
    (tmp_path / "rules" / "a filter.yml").write_text(FILTER)
    assert soc("rules", "convert", "rules", "--to", "lucene").stdout.splitlines()[1] == (
        "*COMMAND\\=\\/bin\\/bash* AND (NOT user.name:an)")


def test_correlations_follow_the_rules_they_count_in_any_order_of_files(soc, tmp_path):
    rule = GOOD.replace("['COMMAND=/bin/bash']", "{process.command_line: /bin/bash}")
    (tmp_path / "rules" / "good.yml").write_text(rule)
    (tmp_path / "rules" / "aa.yml").write_text(OFTEN)
    (tmp_path / "rules" / "ab.yml").write_text(OFTEN.replace("000009", "000008").replace("root_shell", "not_there"))
    done = soc("rules", "convert", "rules", "--to", "esql", code=1)
    titles = [line for line in done.stdout.splitlines() if line.startswith("# ")]
    assert titles == ["# 00000000-0000-4000-8000-000000000009 Root shells often"], "the rule that it counts has no query of its own"
    assert "stats event_count=" in done.stdout
    assert "rules/ab.yml:1: esql cannot say it: " in done.stderr and "not_there" in done.stderr


def test_correlations_become_queries_where_the_target_has_them(soc, tmp_path):
    (tmp_path / "rules" / "often.yml").write_text(OFTEN)
    said = soc("rules", "convert", "rules", "--to", "esql", code=1)
    assert "rules/often.yml" in said.stderr + said.stdout or "Root shells often" in said.stdout
    refused = soc("rules", "convert", "rules", "--to", "kql", code=1).stderr
    assert "rules/often.yml:1: kql cannot say it" in refused


def test_the_documented_commands_run(soc, tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "auth.log").write_text(SUDO.format("/bin/bash") + "\n")
    page = (REPOSITORY / "docs" / "rules-as-code.md").read_text(encoding="utf-8")
    shell = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)[0].splitlines()
    pipeline = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])["rules"]
    for line in [*shell, *pipeline["script"]]:
        program, *words = shlex.split(line)
        assert program == "soc"
        soc(*words)
    for name in pipeline["artifacts"]["reports"]["junit"]:
        assert ElementTree.parse(tmp_path / name).getroot().tag == "testsuites"
    assert json.loads((tmp_path / "check.sarif").read_text())["version"] == "2.1.0"
