"""Whatever is asked of whatever events: the embedded store answers as the reference evaluator says."""
from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soc.errors import QueryError
from soc.event import Event, Scope
from soc.store.eventstore import Hits, TimeRange
from soc.store.memory import MemoryStore
from soc.store.query import parse
from soc.store.reference import matches
from tests.store_files import embedded, stored

ALWAYS = TimeRange()
WORDS = st.sampled_from([
    "admin", "Admin", "ADMIN", "Hòa", "hoà", "hoa", "đăng nhập", "Đăng Nhập", "%C4%91%C4%83ng", "a%20b", "%%1833", "100%", "a_b", "a\\b",
    r"C:\Windows\Temp\x.exe", "/etc/passwd", "'; DROP TABLE x; --", 'say "hi"', "a*b", "a?b", "[x]", "{6a91-0}", "fe80::1", "10.0.0.1",
    "4624", "ΑΣ", "İstanbul", "ß", "naïve", "日本語", "tab\tx", "line\nbreak", "", "x", "foo-bar.baz", "foo bar baz", "über",
]) | st.text(st.characters(codec="utf-8", exclude_characters="\0", max_codepoint=0x2FFF), max_size=8)
TEXT_NAMES = ["message", "event.original", "user.name", "file.path", "winlog.event_data.Param1", "winlog.event_data.param1", "x\"y", "rare.a", "tags"]
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.255.9", "10.1.2.3", "172.16.5.4", "172.32.0.1", "192.168.1.1", "::1", "fe80::1", "2001:db8::", "2001:db8::8:0:1",
                             "::ffff:102:304", "1:2:3:4:5:6:7:8", "255.255.255.255"])


def events_() -> st.SearchStrategy[Event]:
    fields: dict[str, st.SearchStrategy[object]] = {name: WORDS | st.lists(WORDS, min_size=1, max_size=3) for name in TEXT_NAMES}
    fields |= {
        "source.ip": ADDRESSES | st.lists(ADDRESSES | st.just("10.x"), min_size=1, max_size=2),
        "destination.port": st.integers(-3, 70000),
        "event.start": st.integers(0, 2**51),
        "@timestamp": st.integers(1_700_000_000_000_000, 1_700_000_000_000_009),
        "organization.id": st.sampled_from(["a1", "a2"]),
        "host.name": st.sampled_from(["h1", "h2"]),
        "soc.origin": st.just("live"),
    }
    return st.fixed_dictionaries({}, optional=fields)  # type: ignore[arg-type,return-value]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


def _bare(text: str) -> str:
    return "".join("\\" + c if c in '*?"()\\ \t' else c for c in text if not c.isspace()) or "x"


def leaves_() -> st.SearchStrategy[str]:
    names = st.sampled_from([n.replace('"', '\\"') for n in TEXT_NAMES])
    pattern = st.lists(WORDS.map(_bare) | st.sampled_from(["*", "?", "a", "h", "ad", "n"]), min_size=1, max_size=3).map("".join)
    return st.one_of(
        st.builds(lambda n, w: f"{n}:{_quoted(w)}", names, WORDS), st.builds(lambda n, p: f"{n}:{p}", names, pattern),
        WORDS.filter(bool).map(_quoted), pattern,
        names.map(lambda n: f"{n}:*"), names.map(lambda n: f"_exists_:{n}"),
        st.builds(lambda n, a, b: f"{n}:({_quoted(a)} OR NOT {_quoted(b)})", names, WORDS, WORDS),
        st.integers(-3, 70000).map(lambda p: f"destination.port:{p}"), st.integers(-3, 70000).map(lambda p: f"destination.port:>={p}"),
        st.builds(lambda a, b: f"destination.port:{{{a} TO {b}]", st.integers(-3, 99), st.integers(0, 70000)), st.just("destination.port:4*"),
        st.sampled_from([f"source.ip:{n}" for n in ("10.0.0.0/8", "10.0.0.0/9", "10.0.0.0/17", "172.16.0.0/12", "0.0.0.0/0", "10.0.0.1/32", "::/0", "fe80::/10",
                                                    "2001:db8::/32", "2001:db8::8:0:0/112", "[10.0.0.1 TO 172.16.5.4]", "10.*", "FE80:0::1", "[::1 TO fe80::2]")]),
        st.sampled_from(["@timestamp:2023", "@timestamp:>2024-01-01", "event.start:<=2001-09-09T01:46", "event.start:[1990 TO 2020}", "soc.origin:live", "soc.origin:import"]),
    )


def queries_() -> st.SearchStrategy[str]:
    return st.recursive(leaves_(), lambda inner: st.one_of(
        st.builds(lambda a, b: f"({a}) AND ({b})", inner, inner), st.builds(lambda a, b: f"{a} OR {b}", inner, inner),
        inner.map(lambda a: f"NOT ({a})"), inner.map(lambda a: f"-({a})")), max_leaves=4)


def plain(hits: Hits) -> tuple[object, ...]:
    """A page to compare: a list of one that went to `kv` comes back as its value (soc.store.columns)."""
    events = [{name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in e.items()} for e in hits.events]
    return events, hits.next, hits.partial, hits.damaged


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(events_(), min_size=1, max_size=14), st.lists(queries_(), min_size=2, max_size=8), st.sampled_from([400, 14, 18]))
def test_embedded_store_answers_as_the_reference(given_events: list[Event], queries: list[str], max_columns: int) -> None:
    events = [stored(dict(e), n) for n, e in enumerate(given_events)]
    with tempfile.TemporaryDirectory() as folder:
        store = embedded(Path(folder), events, files=3, max_columns=max_columns)
        memory = MemoryStore(events)
        for query in queries:
            try:
                read = parse(query)
            except QueryError:
                continue
            wanted = sorted(int(e["soc.n"]) for e in events if matches(read, e))
            assert sorted(int(e["soc.n"]) for e in store.search(query, Scope.everything(), ALWAYS).events) == wanted, query
            for scope in (Scope.of(["a1"]), Scope.of(["a2", "a1"], ["h1"])):
                assert plain(store.search(query, scope, ALWAYS, limit=3)) == plain(memory.search(query, scope, ALWAYS, limit=3)), query
            assert store.count(query, Scope.everything(), ALWAYS) == len(wanted)
        store.close()


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.lists(leaves_() | st.sampled_from(["AND", "OR", "NOT", "(", ")", ":", "x:", '"', "[", "TO", "]", ">", "-"]), max_size=9).map(" ".join))
def test_any_text_is_read_or_refused_with_its_column(text: str) -> None:
    try:
        parse(text)
    except QueryError as refused:
        assert 1 <= refused.column <= len(text) + 1
        assert refused.remedy


@pytest.mark.parametrize("path", [r"C:\Windows\System32\cmd.exe", r"\\server\share\a b", "/etc/a b", 'a"b'])
def test_a_quoted_value_is_found_whatever_is_in_it(path: str) -> None:
    assert matches(parse(f"file.path:{_quoted(path)}"), {"file.path": path})
