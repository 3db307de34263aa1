"""`soc rules` as people run it."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
GOOD = """title: Sudo to root shell
id: 00000000-0000-4000-8000-000000000001
level: high
logsource: {product: linux, service: sudo}
detection:
    shell: ['COMMAND=/bin/bash']
    condition: shell
"""
SUDO = "Nov 20 08:00:0{n} web01 sudo:      an : TTY=pts/0 ; PWD=/home/an ; USER=root ; COMMAND={command}"


@pytest.fixture
def soc(tmp_path):
    def run(*words: str, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "soc.cli", "--data", str(tmp_path / "data"), "rules", *words], input=stdin, capture_output=True,
            text=True, cwd=tmp_path, timeout=120, check=False, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
        assert done.returncode == code, done.stdout + done.stderr
        return done
    return run


def test_a_pack_in_listed_shown_and_switched(soc, tmp_path):
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr("good.yml", GOOD)
        archive.writestr("bad.yml", GOOD.replace("000001", "000002").replace("condition: shell", "condition: other"))
        archive.writestr("wait.yml", GOOD.replace("000001", "000003").replace("['COMMAND=/bin/bash']", "{f|expand: '%x%'}"))
        archive.writestr("mac.yml", GOOD.replace("000001", "000004").replace("linux", "macos"))
    done = soc("import", "pack.zip")
    assert "bad.yml:7:" in done.stdout
    assert "3 rules" in done.stderr
    rows = {row["path"]: row for row in json.loads(soc("list", "--json").stdout)}
    assert {path: (row["enabled"], row["can_fire"]) for path, row in rows.items()} == {
        "good.yml": (True, True), "wait.yml": (False, True), "mac.yml": (True, False)}
    assert rows["mac.yml"]["why_not"] == "no source here sends macos events"
    assert [row["path"] for row in json.loads(soc("list", "--disabled", "--json").stdout)] == ["wait.yml"]
    assert len(json.loads(soc("list", "--enabled", "--product", "linux", "--level", "high", "--limit", "5", "--json").stdout)) == 1
    refused = json.loads(soc("list", "--refused", "--json").stdout)
    assert [(row["path"], row["line"]) for row in refused] == [("bad.yml", 7)]
    identity = rows["good.yml"]["id"]
    assert GOOD.strip() in soc("show", identity).stdout
    soc("disable", identity)
    assert not json.loads(soc("show", identity, "--json").stdout)[0]["enabled"]
    soc("enable", "--all", "--product", "linux")
    assert json.loads(soc("show", identity, "--json").stdout)[0]["enabled"]
    assert "placeholder" in soc("enable", rows["wait.yml"]["id"], code=1).stderr
    assert "there is no rule" in soc("disable", "nonsense", code=1).stderr
    soc("disable", code=2)


def test_import_off_leaves_rules_off(soc, tmp_path):
    (tmp_path / "one.yml").write_text(GOOD)
    report = json.loads(soc("import", "one.yml", "--off", "--json").stdout)
    assert (report["pack"], report["rules"], report["enabled"], report["off"]) == ("local", 1, 0, 1)


def test_a_hostile_pack_is_refused_whole(soc, tmp_path):
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr("good.yml", GOOD)
        archive.writestr("../evil.yml", GOOD)
    assert "refused as a whole" in soc("import", "pack.zip", code=1).stderr
    assert json.loads(soc("list", "--json").stdout) == []


def test_check_names_file_line_and_reason(soc, tmp_path):
    (tmp_path / "good.yml").write_text(GOOD)
    (tmp_path / "bad.yml").write_text(GOOD.replace("level: high", "level: high\nlevel: low"))
    (tmp_path / "none.yml").write_text("a: 1\n")
    assert soc("check", "good.yml").stdout == ""
    assert "bad.yml:4: 'level' stands here twice" in soc("check", "good.yml", "bad.yml", code=1).stdout
    assert "not a Sigma rule" in soc("check", "none.yml", code=1).stdout
    assert not (tmp_path / "data").exists()


def test_match_counts_lines_from_one(soc, tmp_path):
    (tmp_path / "rule.yml").write_text(GOOD)
    lines = [SUDO.format(n=1, command="/bin/ls"), "", SUDO.format(n=2, command="/bin/bash"), SUDO.format(n=3, command="/bin/bash -l")]
    (tmp_path / "auth.log").write_text("\n".join(lines) + "\n")
    done = soc("match", "rule.yml", "auth.log")
    assert [line.split("\t")[:2] for line in done.stdout.splitlines()] == [
        ["00000000-0000-4000-8000-000000000001", "3"], ["00000000-0000-4000-8000-000000000001", "4"]]
    hits = json.loads(soc("match", "--json", "rule.yml", "-", stdin="\n".join(lines)).stdout)
    assert [(hit["line"], hit["fields"]) for hit in hits] == [(3, ["(keyword)"]), (4, ["(keyword)"])]
    assert not (tmp_path / "data").exists()


def test_match_may_ignore_log_sources(soc, tmp_path):
    (tmp_path / "rule.yml").write_text(GOOD.replace("['COMMAND=/bin/bash']", "{some.field: x}"))
    event = json.dumps({"some": {"field": "X"}})
    assert soc("match", "rule.yml", "-", stdin=event).stdout == ""
    assert "\t1\tsome.field" in soc("match", "--ignore-logsource", "rule.yml", "-", stdin=event).stdout


def test_match_without_a_rule_that_runs_fails(soc, tmp_path):
    (tmp_path / "rule.yml").write_text("title: x\n")
    assert "no rule that can run" in soc("match", "rule.yml", "-", code=2).stderr


def test_samples_beside_rules_are_judged(soc, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sudo.yml").write_text(GOOD)
    samples = [{"match": True, "raw": SUDO.format(n=1, command="/bin/bash")}, {"match": False, "raw": SUDO.format(n=1, command="/bin/ls")}]
    place = tmp_path / "mine" / "sudo.samples.jsonl"
    place.write_text("\n".join(map(json.dumps, samples)))
    assert all(row["passed"] for row in json.loads(soc("test", "mine", "--json").stdout))
    place.write_text(json.dumps(samples[0] | {"match": False}) + "\nnonsense\n")
    assert [row["passed"] for row in json.loads(soc("test", "mine", "--json", code=1).stdout)] == [False, False]
