"""`soc rules match` as people run it: inputs of every kind, hits as they come, exit codes."""
from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

REPOSITORY = Path(__file__).resolve().parents[2]
RULE = """title: Evil
id: 00000000-0000-4000-8000-00000000000a
level: high
logsource: {product: any}
detection:
    evil: {deed: evil}
    condition: evil
"""
ID = "00000000-0000-4000-8000-00000000000a"
GOOD, EVIL = b'{"deed": "good"}\n', b'{"deed": "evil"}\n'


def start(*words: str, cwd: Path, out: Any = subprocess.PIPE, stdin: Any = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "soc.cli", "rules", "match", "--ignore-logsource", *words], cwd=cwd, stdin=stdin, stdout=out,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})


@pytest.fixture
def match(tmp_path):
    (tmp_path / "rule.yml").write_text(RULE)

    def run(*words: str, stdin: bytes = b"", code: int = 0) -> tuple[list[str], str]:
        process = start("rule.yml", *words, cwd=tmp_path, stdin=subprocess.PIPE)
        out, err = process.communicate(stdin, timeout=120)
        assert process.returncode == code, err.decode()
        return out.decode().splitlines(), err.decode()
    return run


@pytest.mark.parametrize("name, packed", [
    ("e.jsonl", bytes), ("e.jsonl.gz", gzip.compress), ("e.zst", zstandard.compress), ("gzipped-without-a-suffix", gzip.compress)])
def test_files_may_be_packed(match, tmp_path, name, packed):
    (tmp_path / name).write_bytes(packed(GOOD + b"\n" + EVIL + GOOD))
    assert match(name)[0] == [f"{ID}\t3\tdeed"]
    assert match("-", stdin=(tmp_path / name).read_bytes())[0] == [f"{ID}\t3\tdeed"]


def test_several_files_name_the_file_of_each_hit(match, tmp_path):
    (tmp_path / "one.jsonl").write_bytes(GOOD + EVIL)
    (tmp_path / "two.jsonl").write_bytes(EVIL)
    assert match("one.jsonl", "two.jsonl")[0] == [f"{ID}\tone.jsonl:2\tdeed", f"{ID}\ttwo.jsonl:1\tdeed"]
    hits = json.loads("\n".join(match("--json", "one.jsonl", "two.jsonl")[0]))
    assert [(hit["file"], hit["line"], hit["fields"], hit["title"]) for hit in hits] == [
        ("one.jsonl", 2, ["deed"], "Evil"), ("two.jsonl", 1, ["deed"], "Evil")]


def test_a_json_document_counts_its_elements(match, tmp_path):
    (tmp_path / "array.json").write_text(json.dumps([{"deed": "good"}, {"deed": "evil"}], indent=2))
    assert match("array.json")[0] == [f"{ID}\t2\tdeed"]


def test_lines_of_utf_16_count_as_an_editor_counts_them(match, tmp_path):
    (tmp_path / "w.jsonl").write_bytes("\r\n".join([GOOD.decode().strip(), "", EVIL.decode().strip()]).encode("utf-16"))
    assert match("w.jsonl")[0] == [f"{ID}\t3\tdeed"]


def test_exit_codes_tell_a_hit_from_a_failure(match, tmp_path):
    (tmp_path / "good.jsonl").write_bytes(GOOD)
    (tmp_path / "evil.jsonl").write_bytes(EVIL)
    match("--fail-on-match", "good.jsonl")
    match("evil.jsonl")
    match("--fail-on-match", "evil.jsonl", code=1)
    assert "No such file" in match("absent.jsonl", code=2)[1]
    assert "no parser 'nonsense'" in match("--format", "nonsense", "evil.jsonl", code=2)[1]
    assert json.loads("".join(match("--json", "good.jsonl")[0])) == []


def test_a_file_cut_short_gives_what_it_holds_and_fails_and_the_next_is_read(match, tmp_path):
    whole = gzip.compress(b"".join(b'{"deed": "evil", "n": "%s"}\n' % os.urandom(40).hex().encode() for _ in range(20_000)))
    (tmp_path / "short.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "next.jsonl").write_bytes(EVIL)
    (tmp_path / "logs.zip").write_bytes(b"PK\x03\x04 and so on")
    hits, said = match("short.gz", "logs.zip", "next.jsonl", code=2)
    assert hits[0] == f"{ID}\tshort.gz:1\tdeed"
    assert len(hits) > 5_000
    assert hits[-1] == f"{ID}\tnext.jsonl:1\tdeed"
    assert "short.gz: it ends before its content does" in said
    assert "logs.zip: an archive, or packed twice" in said


def test_hits_of_a_pipe_come_while_it_goes_on(tmp_path):
    (tmp_path / "rule.yml").write_text(RULE)
    process = start("rule.yml", "-", cwd=tmp_path, stdin=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    for line in (1, 2):
        process.stdin.write(EVIL)
        process.stdin.flush()
        assert process.stdout.readline() == f"{ID}\t{line}\tdeed\n".encode()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_memory_does_not_grow_with_the_hits(tmp_path):
    (tmp_path / "rule.yml").write_text(RULE)

    def peak(hits: int) -> int:
        """Largest size of the process in KiB, with that many hits."""
        (tmp_path / "many.jsonl").write_bytes(EVIL * hits)
        with open(tmp_path / "out", "wb") as out:
            process = start("rule.yml", "many.jsonl", "--json", cwd=tmp_path, out=out)
            _, process.returncode, usage = os.wait4(process.pid, 0)
            process.communicate()
        assert process.returncode == 0
        assert (tmp_path / "out").read_bytes().count(b'"line"') == hits
        return usage.ru_maxrss

    assert peak(150_000) - peak(20_000) < 50_000  # rows of hits take 1.5 kB each


def test_lines_that_a_shipper_wrapped_meet_the_rules_that_they_meet_bare(tmp_path):
    samples = [json.loads(line) for path in sorted((REPOSITORY / "rules").rglob("*.samples.jsonl")) for line in path.read_text().splitlines()]
    lines = list(dict.fromkeys(one["raw"] for one in samples if isinstance(one.get("raw"), str) and one["raw"][:1] != "{" and "\n" not in one["raw"]))
    assert len(lines) > 50
    wrapped = [json.dumps({"@timestamp": "2026-11-26T03:00:00Z", "message": line, "log": {"file": {"path": "/var/log/x.log"}, "offset": 7}}) for line in lines]
    found = []
    for name, content in (("bare.log", lines), ("wrapped.jsonl", wrapped)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in content))
        run = subprocess.run([sys.executable, "-m", "soc.cli", "rules", "match", "--json", str(REPOSITORY / "rules"), name], cwd=tmp_path,
                             capture_output=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, timeout=300, check=True)
        found.append({(hit["rule_id"], hit["line"]) for hit in json.loads(run.stdout)})
    assert len(found[0]) > 40
    assert found[1] == found[0]
