"""F44–F49 at a running centre: event logs, archives and rule packs that were made to do harm. What can be read is taken, the
rest is named with its reason, nothing is written elsewhere, and no process dies.
"""
from __future__ import annotations

import io
import json
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

RULE = """title: A rule
id: 00000000-0000-4000-8000-{number:012d}
level: high
logsource: {{product: linux, service: sshd}}
detection:
    selection:
        {test}
    condition: {condition}
"""
TEMPLATE = 24 + 4 + 10
"""Where the definition of a record's own template lies, from the record's beginning."""


def record(number: int, xml: bytes) -> bytes:
    """One record of an event log with the given BinXML."""
    size = 24 + len(xml) + 4
    size += -size % 8
    head = struct.pack("<4sIQQ", b"\x2a\x2a\0\0", size, number, 133_000_000_000_000_000)
    return (head + xml).ljust(size - 4, b"\0") + struct.pack("<I", size)


def computer(at: int, name: str) -> bytes:
    """BinXML `<Event><Computer>name</Computer></Event>` of a record that lies at `at` of its chunk."""
    def element(start: int, tag: str, content: bytes) -> bytes:
        body = struct.pack("<IIHH", start + 9, 0, 0, len(tag)) + tag.encode("utf-16-le") + b"\0\0\x02" + content + b"\x04"
        return b"\x01" + struct.pack("<I", len(body)) + body

    start = at + 28
    text = b"\x05\x01" + struct.pack("<H", len(name)) + name.encode("utf-16-le")
    return b"\x0f\x01\x01\x00" + element(start, "Event", element(start + 30, "Computer", text)) + b"\x00"


def template_of_itself(at: int) -> bytes:
    """A template whose definition is an instance of itself."""
    body = b"\x0f\x01\x01\0\x0c\x01" + struct.pack("<III", 1, at + TEMPLATE, 0) + b"\0"
    definition = bytes(20) + struct.pack("<I", len(body)) + body
    return b"\x0f\x01\x01\0\x0c\x01" + struct.pack("<II", 1, at + TEMPLATE) + definition + bytes(4) + b"\0"


def nested(at: int, levels: int) -> bytes:
    """Elements within elements."""
    step = 9 + 8 + 4 + 1
    total = at + 28 + (step + 1) * levels
    heads = b"".join(b"\x01" + struct.pack("<II", total - (a := at + 28 + n * step) - 5, a + 9) + struct.pack("<IHH", 0, 0, 1) + b"a\0\0\0\x02"
                     for n in range(levels))
    return b"\x0f\x01\x01\0" + heads + b"\x04" * levels + b"\0"


def chunk(makers: Iterable[Callable[[int], bytes]], *, sound: bool = True) -> bytes:
    """A chunk of records; with a wrong checksum if it is not `sound`."""
    body, number = b"", 0
    for number, make in enumerate(makers, 1):
        body += record(number, make(512 + len(body)))
    head = struct.pack("<8sQQQQIIII", b"ElfChnk\0", 1, number, 1, number, 128, 512, 512 + len(body), zlib.crc32(body) ^ (not sound))
    head = head.ljust(120, b"\0")
    head += struct.pack("<II", 0, zlib.crc32(bytes(384), zlib.crc32(head)))
    return (head + bytes(384) + body).ljust(65_536, b"\0")


def event_log(*chunks: bytes) -> bytes:
    head = struct.pack("<8sQQQIHHHH", b"ElfFile\0", 0, len(chunks) - 1, 1000, 128, 1, 3, 4096, len(chunks)).ljust(120, b"\0")
    return (head + struct.pack("<II", 0, zlib.crc32(head))).ljust(4096, b"\0") + b"".join(chunks)


def packed(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return whole.getvalue()


def everything_below(folder: Path, but: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_relative_to(but)}


def test_an_event_log_with_cycles_depths_and_false_checksums_gives_what_can_be_read(standing: Any, tmp_path: Path) -> None:
    """F44."""
    xxe = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>&e;'
    path = tmp_path / "hostile.evtx"
    path.write_bytes(event_log(
        chunk([lambda at: computer(at, "EVTX-1"), template_of_itself, lambda at: nested(at, 2_500), lambda at: computer(at, xxe)]),
        chunk([lambda at: computer(at, "EVTX-2")], sound=False), b"\xff" * 65_536, chunk([lambda at: computer(at, "EVTX-3")])))
    [made] = standing.json_or_fault("import", str(path))
    standing.settled()
    assert (made["records"], made["bad"]) == (4, 4), made
    [shown] = standing.json("import", "show", made["id"])
    reasons = " ".join(str(file) for file in shown["files"])
    for words in ("template instance inside template", "nested too deeply", "checksum"):
        assert words in reasons
    for host in ("EVTX-1", "EVTX-2", "EVTX-3"):
        assert standing.count(f'soc.import_id:{made["id"]} event.original:*{host}*') == 1
    [event] = standing.json("events", "search", f"soc.import_id:{made['id']} event.original:*passwd*")
    assert json.loads(event["event.original"])["Event"]["Computer"] == xxe, "an entity is text"


def test_rendered_xml_is_text_and_no_entity_is_followed(standing: Any, tmp_path: Path) -> None:
    """F44: outside entities and a billion laughs in what a shipper sends as XML."""
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    lines = ['<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><Event><Computer>&e;</Computer></Event>',
             f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]><Event><Computer>&l9;</Computer></Event>']
    (tmp_path / "rendered.log").write_text("\n".join(lines) + "\n")
    [made] = standing.json("import", str(tmp_path / "rendered.log"))
    standing.settled()
    found = standing.json("events", "search", f"soc.import_id:{made['id']}")
    assert sorted(event["event.original"] for event in found) == sorted(lines)


NAMES = ["../../x.log", "/etc/x.log", "C:\\x.log", "..\\x.log", "a/../../x.log", "n" * 300 + ".log", "\\\\host\\share\\x.log"]
ODD = ["nhật/e\u0301.log", "nhật/\u00e9.log", "CON.log", "aux", "a..b.log", " .log"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archive_names_never_become_paths(standing: Any, tmp_path: Path, kind: str) -> None:
    """F45: hostile names are left out by name; odd ones are only names."""
    import tarfile

    lines = {name: f"{kind} record {n}\n".encode() for n, name in enumerate(NAMES + ODD)}
    path = tmp_path / f"names.{kind}"
    if kind == "zip":
        path.write_bytes(packed(*lines.items()))
    else:
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            for name, data in lines.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    root = standing.data.parent
    before = everything_below(root, standing.data) | everything_below(tmp_path, standing.data)
    made = standing.json_or_fault("import", str(path))[0]
    standing.settled()
    assert everything_below(root, standing.data) | everything_below(tmp_path, standing.data) == before
    assert not [p for p in standing.data.rglob("*") if p.name in ("x.log", "CON.log", " .log")]
    skipped = standing.json("import", "show", made["id"], "--state", "skipped")[0]["files"]
    assert len([one for one in skipped if not one["name"].endswith("/aux")]) == len(NAMES), skipped
    assert made["records"] == len([name for name in ODD if name.endswith(".log")])
    assert standing.count(f"soc.import_id:{made['id']}") == made["records"]


def linked(mode: int) -> tuple[zipfile.ZipInfo, bytes]:
    entry = zipfile.ZipInfo("link.yml")
    entry.external_attr = mode << 16
    return entry, b"/etc/passwd"


GOOD = RULE.format(number=1, test="a: 1", condition="selection").encode()
PACKS = {
    "a name that leaves it": packed(("good.yml", GOOD), ("../evil.yml", GOOD)),
    "an absolute name": packed(("good.yml", GOOD), ("/tmp/evil.yml", GOOD)),
    "a symbolic link": packed(("good.yml", GOOD), linked(0o120777)),
    "a device": packed(("good.yml", GOOD), linked(0o020666)),
    "names that differ by case": packed(("good.yml", GOOD), ("Good.yml", GOOD)),
    "a bomb": packed(("good.yml", GOOD), ("bomb.yml", b"\0" * (80 << 20))),
    "a million entries": b"PK\x03\x04" + bytes(60) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0),
    "cut off": packed(("good.yml", GOOD), ("other.yml", GOOD))[:-30],
}


@pytest.mark.parametrize("name", PACKS)
def test_a_hostile_pack_is_refused_as_a_whole(standing: Any, tmp_path: Path, name: str) -> None:
    """F46."""
    path = tmp_path / "hostile.zip"
    path.write_bytes(PACKS[name])
    began = time.monotonic()
    done = standing.soc("rules", "import", str(path), check=False)
    assert done.returncode == 1
    assert time.monotonic() - began < 10
    assert "hostile.zip" in done.stderr
    assert standing.json("rules", "list", "--pack", "hostile") == []


def test_hostile_rules_are_refused_with_their_line_and_the_others_of_the_pack_judge(standing: Any, tmp_path: Path) -> None:
    """F47–F49: and a rule that other engines never finish is only slow text to this one."""
    aliases = "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))])
    merges = "\n".join(["a0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(1_000)) + "}",
                        *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 20))])
    many = ", ".join(f"value{n}" for n in range(10_000))
    thousand = "detection:\n" + "".join(f"    s{n}: {{a: {n}}}\n" for n in range(1_000)) + "    condition: 1 of s*\n"
    refused = {
        "python": GOOD.decode() + "x: !!python/object/apply:os.system ['touch /tmp/owned']\n",
        "aliases": GOOD.decode() + aliases + "\n", "merges": GOOD.decode() + merges + "\n",
        "deep": GOOD.decode() + "x: " + "[" * 2_000 + "]" * 2_000 + "\n", "long": GOOD.decode() + "# " + "x" * (10 << 20),
        "twice": GOOD.decode() + "level: low\n",
        "ahead": RULE.format(number=2, test="a|re: 'x(?=y)'", condition="selection"),
        "back": RULE.format(number=3, test="a|re: '(x)\\1'", condition="selection"),
        "powers": RULE.format(number=4, test="a|re: '(x{1000}){1000}'", condition="selection"),
        "brackets": RULE.format(number=5, test="a: 1", condition="(" * 5_000 + "selection" + ")" * 5_000),
    }
    taken = {
        "slow": RULE.format(number=10, test="message|re: '(a+)+$'", condition="selection"),
        "dots": RULE.format(number=11, test="message|re: '.*x.*x.*x.*!$'", condition="selection"),
        "list": RULE.format(number=12, test=f"message|contains: [{many}, needle]", condition="selection"),
        "thousand": RULE.format(number=13, test="a: 1", condition="selection").split("detection:")[0] + thousand,
        "coerced": RULE.format(number=14, test="a: [no, 1e3, 2020-01-01]", condition="selection"),
    }
    path = tmp_path / "rules.zip"
    path.write_bytes(packed(*((f"{name}.yml", text.encode()) for name, text in {**refused, **taken}.items())))
    began = time.monotonic()
    standing.soc("rules", "import", str(path))
    assert time.monotonic() - began < 20
    told = {row["path"]: row for row in standing.json("rules", "list", "--refused", "--limit", "1000")}
    assert set(told) == {f"{name}.yml" for name in refused}
    assert all(row["reason"] for row in told.values())
    assert {name: told[f"{name}.yml"]["line"] for name in ("python", "twice", "ahead", "brackets")} == {
        "python": 9, "twice": 9, "ahead": 7, "brackets": 8}
    assert not Path("/tmp/owned").exists()
    assert {row["path"] for row in standing.json("rules", "list", "--pack", "rules")} == {f"{name}.yml" for name in taken}
    long = "Jan  5 10:00:00 web1 sshd[1]: "
    (tmp_path / "auth.log").write_text("".join([
        long + "a" * 200_000 + "!\n", long + "ax" * 100_000 + "!\n", long + "needle\n", long + "a" * 50 + "\n"]))
    began = time.monotonic()
    standing.soc("import", str(tmp_path / "auth.log"))
    standing.settled(60)
    assert time.monotonic() - began < 20
    counts: dict[str, int] = {}
    for alert in json.loads(standing.soc("alerts", "list", "--json", "--limit", "100").stdout):
        counts[alert["rule_id"][-2:]] = counts.get(alert["rule_id"][-2:], 0) + alert["count"]
    assert counts == {"10": 1, "11": 1, "12": 1}


def test_correlations_that_name_each_other_are_refused(standing: Any, tmp_path: Path) -> None:
    """F49."""
    one = "title: {0}\nname: {0}\nid: 00000000-0000-4000-8000-0000000001{2}\ncorrelation:\n  type: event_count\n  rules: [{1}]\n  group-by: [a]\n" \
          "  timespan: 1h\n  condition: {{gte: 2}}\n"
    (tmp_path / "cycle").mkdir()
    for name, other, number in (("first", "second", "01"), ("second", "first", "02"), ("alone", "alone", "03")):
        (tmp_path / "cycle" / f"{name}.yml").write_text(one.format(name, other, number))
    checked = standing.soc("rules", "check", str(tmp_path / "cycle"), check=False)
    assert checked.returncode == 1
    assert all(f"{name}.yml:1: its rules refer to each other in a circle" in checked.stdout for name in ("first", "second", "alone"))
    assert "\n0 rules are fine, 3 faults in 3 files" in "\n" + checked.stderr
    imported = standing.soc("rules", "import", str(tmp_path / "cycle")).stdout
    assert all(f"waits cycle/{name}.yml: its rules refer to each other in a circle" in imported for name in ("first", "second", "alone"))
    listed = standing.json("rules", "list", "--pack", "cycle")
    assert [row["can_fire"] for row in listed] == [False] * 3
    assert all("circle" in row["why_not"] for row in listed)
