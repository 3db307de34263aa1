"""Flat Windows lines matched as they lie give the hits that the parser, the columns and the reference give."""
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.detect.compiled import AtomSpec, CompiledRule, Detection, LogSource
from soc.detect.engine import Engine
from soc.detect.engine.fieldtests import FieldTests
from soc.detect.engine.flat import FlatMatcher, read_heads
from soc.detect.engine.lines import Text
from soc.detect.engine.reference import is_routed, matches
from soc.detect.engine.scan import FOLDING_TO_ASCII, available
from soc.detect.engine.sieve import anchored_needles, needles_of
from soc.event import Event, FrameContext
from soc.normalise.flatwindows import keys_of, text_of_number
from soc.normalise.records import Parsers
from soc.store.columns import batch_of

CONTEXT = FrameContext(source="t", stream="t", first=0, count=1, read_at=1, ingested=1)
PARSERS = Parsers()
SYSMON, SECURITY = "Microsoft-Windows-Sysmon/Operational", "Security"
WORDS = ["cmd.exe", '": ', '"Image":"', "0", "\\cmd.exe", "C:\\Windows\\", "MIMIKATZ", "sekurlsa::", "ſekurlſa::", "\u212aerberos", "straße", "a/b", 'say "x"', "\u202e", "đăng",
         "7", "4444", "-e ", "ﬁle", "-", "", "true", "0x3e7"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=3).map("".join)
FIELDS = ["Image", "CommandLine", "ParentImage", "TargetObject", "LogonType", "ThreatName", "Computer", "Provider_Name", "EventID", "Keywords", "Message"]
LITERALS = st.sampled_from(["cmd.exe", "\\cmd.exe", "windows\\", "mimi", "kerberos", "sekurlsa::", "strasse", "a/b", '"x"', "\u202e", "ĐĂNG", "4444", "7", "file", "true", "0", "😀"])

ATOMS = st.one_of(
    st.builds(AtomSpec, st.sampled_from(FIELDS), st.sampled_from(["is", "contains", "startswith", "endswith"]), LITERALS, st.booleans()),
    st.builds(AtomSpec, st.sampled_from(FIELDS), st.just("like"), st.sampled_from(["*cmd*exe", "*a?b*", "C:\\\\\\\\*", "*"])),
    st.builds(AtomSpec, st.just(""), st.just("contains"), LITERALS),
    st.builds(AtomSpec, st.sampled_from(FIELDS), st.sampled_from(["null", "exists", "any"]), st.just("")),
    st.builds(AtomSpec, st.sampled_from(FIELDS), st.just("re"), st.sampled_from(["cmd.{0,5}exe", "(?i)mimi|sekur", "^[0-9]+$"])),
    st.builds(AtomSpec, st.sampled_from(FIELDS), st.sampled_from(["gt", "lte"]), st.sampled_from(["4", "4444"])),
    st.builds(AtomSpec, st.just("EventID"), st.just("is"), st.sampled_from(["1", "13", "4624"])),
    st.builds(AtomSpec, st.sampled_from(FIELDS), st.sampled_from(["fieldref", "fieldref endswith"]), st.sampled_from(FIELDS)),
)
SOURCES = [LogSource("windows"), LogSource("windows", "process_creation"), LogSource("windows", "registry_set"), LogSource("windows", "", "security"),
           LogSource("windows", "", "sysmon")]


def trees(size: int) -> st.SearchStrategy[Any]:
    return st.recursive(st.integers(0, size - 1), lambda inner: st.one_of(
        inner.map(lambda one: ["!", one]),
        st.tuples(st.sampled_from("&&|"), st.lists(inner, min_size=2, max_size=3)).map(lambda pair: [pair[0], *pair[1]])), max_leaves=6)


@st.composite
def rules(draw: Any) -> list[CompiledRule]:
    found = []
    for number in range(draw(st.integers(1, 5))):
        atoms = draw(st.lists(ATOMS, min_size=1, max_size=4, unique=True))
        detection = Detection(atoms, draw(trees(len(atoms))))
        found.append(CompiledRule(f"rule-{number}", "1", "t", "low", (), draw(st.sampled_from(SOURCES)), detection.pack()))
    return found


VALUES = st.one_of(TEXTS, TEXTS, st.integers(-5, 5000), st.none(), st.booleans(), st.lists(TEXTS, max_size=2), st.just(1.5), st.just({"a": "cmd.exe"}))
RECORDS = st.builds(
    lambda number, channel, provider, values: {"EventID": number, **({"Channel": channel} if channel is not None else {}), **provider, **values},
    st.sampled_from([1, 13, 4624, "1", 99]), st.sampled_from([SYSMON, SYSMON, SECURITY, "Unheard", None]),
    st.sampled_from([{"SourceName": "Microsoft-Windows-Sysmon"}, {"Provider_Name": "x"}, {}, {"SourceName": "a", "Provider_Name": "b"}]),
    st.dictionaries(st.sampled_from(["Image", "NewProcessName", "CommandLine", "ParentImage", "TargetObject", "LogonType", "ThreatName", "Threat Name",
                                     "Hostname", "Computer", "Keywords", "Message", "EventData", "UserData", "Rest"]), VALUES, max_size=6))
ESCAPED = st.sampled_from([lambda text: text, lambda text: text.replace("/", "\\/"), lambda text: text.replace("m", "\\u006d")])


SPACING = st.sampled_from([(",", ":"), (",", ":"), (",", ":"), (", ", ": "), (",", " :"), (",", ":\t")])


def line(record: dict[str, Any], escape: Any, ascii_only: bool, spacing: tuple[str, str]) -> bytes:
    text = json.dumps(record, ensure_ascii=ascii_only, separators=spacing)
    for value in record.values():
        if isinstance(value, str) and value:
            text = text.replace(json.dumps(value, ensure_ascii=ascii_only), escape(json.dumps(value, ensure_ascii=ascii_only)))
    return text.encode()


def parsed(lines: list[bytes]) -> list[Event | None]:
    events: list[Event | None] = [None] * len(lines)
    for one in PARSERS.parse_frame(CONTEXT, lines).events:
        events[one.index] = one.event
    return events


@settings(max_examples=300, deadline=None)
@given(rules(), st.lists(st.builds(line, RECORDS, ESCAPED, st.booleans(), SPACING), min_size=1, max_size=12), st.lists(RECORDS, max_size=6))
def test_lines_give_the_hits_of_their_events(found: list[CompiledRule], lines: list[bytes], earlier: list[dict[str, Any]]) -> None:
    engine = Engine(found)
    flat = FlatMatcher(engine)
    others = [json.dumps(record, separators=(",", ":")).encode() for record in earlier]
    flat.match(others, read_heads(others), parsed)  # what is learned of others
    events = parsed(lines)
    expected = {(rule.rule_id, place) for place, event in enumerate(events) if event is not None for rule in found
                if is_routed(rule, event) and matches(rule, event)}
    texts = [Text.of(b"".join(line + b"\n" for line in some)) for some in (lines[:5], lines[5:]) if some]
    together = [head for text in texts for head in read_heads(text)]
    for heads in (read_heads(lines), together):  # the second time with what was learned
        result = flat.match(lines, heads, parsed)
        hits = {(hit.rule_id, hit.row) for hit in result.hits}
        assert len(hits) == len(result.hits), "a hit came twice"
        assert hits == {(rule, place) for rule, place in expected if place not in result.left}
    sound = [(place, event) for place, event in enumerate(events) if event is not None]
    if sound:
        columns = {(hit.rule_id, sound[hit.row][0]) for hit in Engine(found).match(batch_of([event for _, event in sound]))}
        assert columns == expected


@settings(max_examples=200, deadline=None)
@given(RECORDS.filter(lambda record: isinstance(record["EventID"], int)))
def test_keys_give_what_the_parser_copies(record: dict[str, Any]) -> None:
    event = parsed([json.dumps(record).encode()])[0]
    if event is None or event["event.dataset"] != "windows" or not all(isinstance(value, str | int) and not isinstance(value, bool) for value in record.values()):
        return
    for name in (*event, "winlog.event_data.Image", "winlog.event_data.Absent"):
        keys = keys_of(name)
        if keys is None or sum(key in record for key in keys) > 1:
            continue
        given_ = [value if isinstance(value := record[key], str) else text_of_number(name, value) for key in keys if key in record]
        spaced = [key for key in record if " " in key and f"winlog.event_data.{key.replace(' ', '')}" == name]
        if not spaced:
            assert event.get(name) == (given_[0] if given_ else None), name


@pytest.mark.skipif(not available(), reason="hyperscan has no package for this machine")
def test_plain_lines_are_not_left_to_the_parser() -> None:
    """The way is taken at all: of ordinary lines none is left, and only those with a needle are asked."""
    rule = CompiledRule("r", "1", "t", "low", (), LogSource("windows", "process_creation"),
                        Detection([AtomSpec("Image", "endswith", "\\cmd.exe"), AtomSpec("CommandLine", "contains", "needle")], ["&", 0, 1]).pack())
    lines = [json.dumps({"EventID": 1, "Channel": SYSMON, "SourceName": "s", "Image": f"C:\\{n}\\cmd.exe", "CommandLine": f"x {n}"}).encode()
             for n in range(500)]
    lines[77] = lines[77].replace(b"x 77", b"x NEEDLE")
    asked: list[bytes] = []
    result = FlatMatcher(Engine([rule])).match(lines, read_heads(lines), lambda some: asked.extend(some) or parsed(some))
    assert [(hit.rule_id, hit.row) for hit in result.hits] == [("r", 77)]
    assert not result.left
    assert not asked


@pytest.mark.parametrize("test", ["is", "contains", "startswith", "endswith"])
def test_literals_of_any_length_are_found(test: str) -> None:
    """Longer than what can be scanned for, in values of any length."""
    long = "ab" * 20_000
    rule = CompiledRule("r", "1", "t", "low", (), LogSource("windows", "process_creation"), Detection([AtomSpec("CommandLine", test, long)], 0).pack())
    lines = [json.dumps({"EventID": 1, "Channel": SYSMON, "SourceName": "s", "CommandLine": text}, separators=(",", ":")).encode()
             for text in (long.upper(), long[2:], "c" * 40_000)]
    assert [hit.row for hit in FlatMatcher(Engine([rule])).match(lines, read_heads(lines), parsed).hits] == [0]
    assert [hit.row for hit in Engine([rule]).match(batch_of([event for event in parsed(lines) if event]))] == [0]


@given(st.lists(LITERALS, min_size=1, max_size=4, unique=True), st.lists(st.sampled_from(WORDS), max_size=4).map("".join))
def test_long_values_meet_the_same_tests(literals: list[str], text: str) -> None:
    atoms = list(enumerate(AtomSpec("f", "contains", literal) for literal in literals))
    padded = text + "~" * 1_000 + text
    assert FieldTests(atoms).true_atoms(padded) == FieldTests(atoms).true_atoms(text + "~" * 5 + text)


def test_every_character_that_folds_to_ascii_is_known() -> None:
    every = {chr(code) for code in range(128, 0x110000) if not 0xD800 <= code < 0xE000 and any(sign.isascii() for sign in chr(code).casefold())}
    assert every == set(FOLDING_TO_ASCII)


def test_needles_are_what_a_record_holds() -> None:
    assert needles_of(AtomSpec("f", "endswith", "\\Cmd.exe")) == [{"\\\\cmd.exe"}]
    assert needles_of(AtomSpec("f", "contains", 'say "x"')) == [{'say \\"x\\"'}]
    assert needles_of(AtomSpec("f", "contains", "ĐĂNG nhập")) == [{"ng nh"}]
    assert needles_of(AtomSpec("f", "contains", "😀")) == [{"😀"}]
    assert needles_of(AtomSpec("f", "re", "a(bcd|efg)h+&&x")) == [{"bcd", "efg"}, {"&&x"}]
    assert needles_of(AtomSpec("f", "gt", "5")) == []
    assert needles_of(AtomSpec("f", "contains", "é")) == []


def test_needles_hold_the_key_and_the_end_of_a_value() -> None:
    assert anchored_needles(AtomSpec("f", "is", "88"), ["Port"]) == {'"port":"88"', '"port":88'}
    assert anchored_needles(AtomSpec("f", "is", "0"), ["Port"]) == {'"port":"0"', '"port":0', '"port":-0'}
    assert anchored_needles(AtomSpec("f", "startswith", "C:\\"), ["Image", "Process Name"]) == {'"image":"c:\\\\', '"process name":"c:\\\\'}
    assert anchored_needles(AtomSpec("f", "endswith", "\\cmd.exe"), ["Image"]) == {'\\\\cmd.exe"'}
    assert anchored_needles(AtomSpec("f", "endswith", "88"), ["Port"]) == frozenset()
    assert anchored_needles(AtomSpec("f", "is", "ſé"), ["Image"]) == frozenset()
