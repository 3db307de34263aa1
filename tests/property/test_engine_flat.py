"""Flat Windows lines matched as they lie give the hits that the parser, the columns and the reference give."""
from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.detect.compiled import AtomSpec, CompiledRule, Detection, LogSource
from soc.detect.engine import Engine
from soc.detect.engine.fieldtests import FieldTests
from soc.detect.engine.flat import Flat, FlatMatcher
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


def matched(flat: FlatMatcher, *texts: Text, parse: Any = None) -> Flat:
    """What comes of texts in one frame."""
    frame = flat.frame(parse or parsed)
    for text in texts:
        frame.add(text)
    return frame.finish()


def parsed(lines: list[bytes]) -> list[Event | None]:
    events: list[Event | None] = [None] * len(lines)
    for one in PARSERS.parse_frame(CONTEXT, lines).events:
        events[one.index] = one.event
    return events


@settings(max_examples=300, deadline=None)
@given(rules(), st.lists(st.builds(line, RECORDS, ESCAPED, st.booleans(), SPACING), min_size=1, max_size=12), st.lists(RECORDS, max_size=6))
def test_lines_give_the_hits_of_their_events(found: list[CompiledRule], lines: list[bytes], earlier: list[dict[str, Any]]) -> None:
    flat = FlatMatcher(Engine(found))
    matched(flat, Text.of_records([json.dumps(record, separators=(",", ":")).encode() for record in earlier]))  # what is learned of others
    check(flat, found, lines)
    check(flat, found, lines)  # with what was learned


def check(flat: FlatMatcher, found: list[CompiledRule], lines: list[bytes]) -> Flat:
    """A frame's hits are those that the reference and the columns find in the events, but for lines left to the caller."""
    events = parsed(lines)
    expected = {(rule.rule_id, place) for place, event in enumerate(events) if event is not None for rule in found
                if is_routed(rule, event) and matches(rule, event)}
    result = matched(flat, Text.of_records(lines[:5]), Text.of(b"".join(line + b"\n" for line in lines[5:])))
    hits = {(hit.rule_id, hit.row) for hit in result.hits}
    assert len(hits) == len(result.hits), "a hit came twice"
    assert hits == {(rule, place) for rule, place in expected if place not in result.left}
    assert all(lines[place] == line for place, line in result.left.items())
    sound = [(place, event) for place, event in enumerate(events) if event is not None]
    if sound:
        columns = {(hit.rule_id, sound[hit.row][0]) for hit in Engine(found).match(batch_of([event for _, event in sound]))}
        assert columns == expected
    return result


QUIET: Final = [
    Detection([AtomSpec("Image", "contains", "exe"), AtomSpec("Image", "is", "C:\\Windows\\cmd.exe")], ["&", 0, ["!", 1]]),
    Detection([AtomSpec("Image", "contains", "exe"), AtomSpec("Image", "startswith", "C:\\Windows")], ["&", 0, ["!", 1]]),
    Detection([AtomSpec("Image", "exists", ""), AtomSpec("CommandLine", "contains", "nul"), AtomSpec("CommandLine", "contains", "\\n")], ["&", 0, ["!", ["|", 1, 2]]]),
    Detection([AtomSpec("CommandLine", "contains", "nul"), AtomSpec("Image", "contains", 'say "x"')], ["!", ["|", 0, 1]]),
    Detection([AtomSpec("Image", "contains", "exe"), AtomSpec("LogonType", "is", "3"), AtomSpec("Image", "is", "C:\\Windows\\cmd.exe")], ["&", 0, ["!", 1], ["!", 2]]),
    Detection([AtomSpec("Image", "startswith", "C:\\Windows")], ["!", 0]),
    Detection([AtomSpec("ThreatName", "is", "x")], ["!", 0]),
]
"""What holds for every record but for those that a filter takes out."""
PIECES = st.sampled_from([
    '"Image":"C:\\\\Windows\\\\cmd.exe"', '"Image":"C:\\\\WINDOWS\\\\CMD.EXE"', '"Image":"C:\\\\x.exe"', '"Image":""', '"Image":null', '"Image":3', '"Image":["C:\\\\Windows"]',
    '"Image":"C:\\\\Window\\u0073\\\\cmd.exe"', '"Image":"say \\"x\\".exe"', '"Image":"C:\\\\Windows\\\\cmd.exe\\""', '"Image" :"C:\\\\Windows\\\\cmd.exe"',
    '"Im\\u0061ge":"C:\\\\x.exe"', '"NewProcessName":"C:\\\\x.exe"', '"Rest":{"Image":"C:\\\\Windows\\\\cmd.exe"}', '"Rest": { "Image":"C:\\\\Windows\\\\cmd.exe"}',
    '"Rest":[{"Image":"C:\\\\Windows\\\\cmd.exe"}]', '"Rest":[1, {"Image":"C:\\\\Windows\\\\cmd.exe"}]', '"Rest":{"a":1,"Image":"C:\\\\Windows\\\\cmd.exe","b":2}',
    '"EventData":{"Image":"C:\\\\Windows\\\\cmd.exe"}', '"Rest":"\\"Image\\":\\"C:\\\\Windows"', '"Rest":"{\\"Image\\""', '"CommandLine":"a > nul"', '"CommandLine":"a \\nul"',
    '"CommandLine":"a \\\\nul"', '"CommandLine":"b"', '"CommandLine":"NUL"', '"CommandLine":"a \\" nul"', '"CommandLine":"ſ nul"', '"CommandLine":"\\\\n"', '"CommandLine":"\\n"',
    '"LogonType":3', '"LogonType":"3"', '"LogonType":"30"', '"LogonType":2', '"Rest":{}', '"Rest":[]', '"Rest":"}{"', '"Threat Name":"x"', '"Threat Name":"y"', '"ThreatName":"x"'])


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(QUIET), min_size=1, max_size=4), st.lists(st.lists(PIECES, max_size=5), min_size=1, max_size=12), st.integers(1, 2_500))
def test_what_excuses_a_rule_is_the_value_and_nothing_else(detections: list[Detection], pieces: list[list[str]], learned: int) -> None:
    """Where nearly all records are excused: twice under a key, in an object, behind an escape, by another name, it is no excuse."""
    found = [CompiledRule(f"r{number}", "1", "t", "low", (), LogSource("windows", "process_creation"), one.pack()) for number, one in enumerate(detections)]
    flat = FlatMatcher(Engine(found))
    usual = b'{"EventID":1,"Channel":"%s","SourceName":"s","Image":"C:\\\\Windows\\\\cmd.exe","CommandLine":"x > nul","LogonType":"3","ThreatName":"x"}' % SYSMON.encode()
    assert not matched(flat, Text.of_records([usual] * learned)).hits
    check(flat, found, [b'{"EventID":1,"Channel":"%s","SourceName":"s"%s}' % (SYSMON.encode(), "".join(f",{one}" for one in some).encode()) for some in pieces])


@pytest.mark.skipif(not available(), reason="hyperscan has no package for this machine")
def test_rules_that_ask_every_record_are_excused() -> None:
    """The way is taken at all: a rule with no needle but a filter is asked of those records alone that the filter lets through."""
    rule = CompiledRule("r", "1", "t", "low", (), LogSource("windows", "process_creation"), QUIET[0].pack())
    flat = FlatMatcher(Engine([rule]))
    plain = '{"EventID":1,"Channel":"%s","SourceName":"s","Image":"%s"}'
    lines = [(plain % (SYSMON, "C:\\\\Windows\\\\cmd.exe" if number % 50 else "C:\\\\x.exe")).encode() for number in range(1_000)]
    asked: list[int] = []
    flat.asked = lambda line, place, rules: asked.append(place) or FlatMatcher.asked(flat, line, place, rules)  # type: ignore[method-assign]
    result = matched(flat, Text.of_records(lines))
    assert [hit.row for hit in result.hits] == asked == list(range(0, 1_000, 50))
    assert not result.left


def test_long_frames_keep_every_place() -> None:
    """Lines left over, lines carried to the rest rules and lines asked one by one count on over what is dealt out at once."""
    rules = [CompiledRule("needle", "1", "t", "low", (), LogSource("windows", "process_creation"), Detection([AtomSpec("CommandLine", "contains", "needle")], 0).pack()),
             CompiledRule("rest", "1", "t", "low", (), LogSource("windows", "process_creation"), Detection([AtomSpec("Image", "re", "^.x.*[0-9]$")], 0).pack())]
    plain = '{"EventID":1,"Channel":"%s","SourceName":"s","Image":"%s","CommandLine":"%s"}'
    lines = [(plain % (SYSMON, f"{number % 10}x{number}" if number % 1_000 == 7 else "other", "a needle" if number % 900 == 5 else "b" * 3_000)).encode()
             for number in range(20_000)]
    for number in range(0, 20_000, 700):
        lines[number] = lines[number].replace(b'"Image":', b'"Im\\u0061ge":')
    lines[777] = b"[]"
    flat = FlatMatcher(Engine(rules))
    for _ in range(2):
        frame = flat.frame(parsed)
        for first in range(0, len(lines), 500):
            frame.add(Text.of_records(lines[first : first + 500]))
        result = frame.finish()
        assert set(result.left) >= {777}
        assert all(lines[place] == line for place, line in result.left.items())
        hits = {(hit.rule_id, hit.row) for hit in result.hits}
        assert len(hits) == len(result.hits)
        expected = {("needle", row) for row in range(5, 20_000, 900)} | {("rest", row) for row in range(7, 20_000, 1_000)}
        assert hits == {one for one in expected if one[1] not in result.left}
        assert len(result.left) < 40


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
    result = matched(FlatMatcher(Engine([rule])), Text.of_records(lines), parse=lambda some: asked.extend(some) or parsed(some))
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
    assert [hit.row for hit in matched(FlatMatcher(Engine([rule])), Text.of_records(lines)).hits] == [0]
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
    assert needles_of(AtomSpec("f", "endswith", "\\Cmd.exe")) == ({"\\\\cmd.exe"},)
    assert needles_of(AtomSpec("f", "contains", 'say "x"')) == ({'say \\"x\\"'},)
    assert needles_of(AtomSpec("f", "contains", "ĐĂNG nhập")) == ({"ng nh"},)
    assert needles_of(AtomSpec("f", "contains", "😀")) == ({"😀"},)
    assert needles_of(AtomSpec("f", "re", "a(bcd|efg)h+&&x")) == ({"bcd", "efg"}, {"&&x"})
    assert needles_of(AtomSpec("f", "gt", "5")) == ()
    assert needles_of(AtomSpec("f", "contains", "é")) == ()


def test_needles_hold_the_key_and_the_end_of_a_value() -> None:
    assert anchored_needles(AtomSpec("f", "is", "88"), ["Port"]) == {'"port":"88"', '"port":88'}
    assert anchored_needles(AtomSpec("f", "is", "0"), ["Port"]) == {'"port":"0"', '"port":0', '"port":-0'}
    assert anchored_needles(AtomSpec("f", "startswith", "C:\\"), ["Image", "Process Name"]) == {'"image":"c:\\\\', '"process name":"c:\\\\'}
    assert anchored_needles(AtomSpec("f", "endswith", "\\cmd.exe"), ["Image"]) == {'\\\\cmd.exe"'}
    assert anchored_needles(AtomSpec("f", "endswith", "88"), ["Port"]) == frozenset()
    assert anchored_needles(AtomSpec("f", "is", "ſé"), ["Image"]) == frozenset()
