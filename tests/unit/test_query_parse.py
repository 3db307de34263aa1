"""How searches are read: which words are fields, values, wildcards; how much is too much."""
from __future__ import annotations

import pytest

from soc.errors import QueryError
from soc.store.query import MAX_BYTES, parse
from soc.store.query_tree import EVERYTHING, Addresses, And, Between, Exists, Not, Or, Pattern, Phrase, Term, Wild


def term(field: str, *parts: str | Wild) -> Term:
    return Term(field, Pattern(parts))


@pytest.mark.parametrize(("text", "parts"), [
    (r"C:\Windows\Temp\*", ("C:\\Windows\\Temp\\", Wild.MANY)),
    (r"C:\*", ("C:\\", Wild.MANY)),
    (r"\\srv\share\?", ("\\\\srv\\share\\", Wild.ONE)),
    (r"*\cmd.exe", (Wild.MANY, "\\cmd.exe")),
    (r"a\*b", ("a*b",)),
    (r"a\?b*", ("a?b", Wild.MANY)),
    (r"a**b", ("a", Wild.MANY, "b")),
    (r"a\ b", ("a b",)),
    (r"a\"b", ('a"b',)),
    (r"C:\\Dir\\x", ("C:\\Dir\\x",)),
    ("f(x)", ("f(x)",)),
    ("a\\", ("a\\",)),
    ("https://h:8443/p?q=1&r=%20#x", ("https://h:8443/p", Wild.ONE, "q=1&r=%20#x")),
])
def test_value_without_quotes(text: str, parts: tuple[str | Wild, ...]) -> None:
    assert parse(f"app.x:{text}").root == Term("app.x", Pattern(parts))


@pytest.mark.parametrize("text", [
    "fe80::1", "::1", "2001:db8::/32", "aa:bb:cc:dd:ee:ff", "http://example.test/a:b?c=d", r"C:\Windows\x", "12:30:45", "2026-05-01T10:00:00Z",
    "{6a910b9d-498a-5ee0-c903-000000000400}", "a@b.example", "10.0.0.1:8080", "sshd[12]:", "/a/b:c", "1:2:3:4:5:6:7:8",
])
def test_plain_value_with_colons_is_no_field(text: str) -> None:
    assert isinstance(parse(text).root, Phrase)


@pytest.mark.parametrize(("text", "root"), [
    ("", EVERYTHING), ("   ", EVERYTHING), ("*", EVERYTHING), ("x:*", Exists("x")), ("_exists_:a.b", Exists("a.b")),
    ("x:a y:b", And((term("x", "a"), term("y", "b")))),
    ("x:a AND y:b OR z:c", Or((And((term("x", "a"), term("y", "b"))), term("z", "c")))),
    ("x:a AND (y:b OR z:c)", And((term("x", "a"), Or((term("y", "b"), term("z", "c")))))),
    ("NOT x:a y:b", And((Not(term("x", "a")), term("y", "b")))),
    ("-x:a", Not(term("x", "a"))), ("NOT NOT x:a", Not(Not(term("x", "a")))),
    ("x:(a OR b)", Or((term("x", "a"), term("x", "b")))), ("x:(a -b)", And((term("x", "a"), Not(term("x", "b"))))),
    ('x:"a AND b"', term("x", "a AND b")), ('x:"*"', term("x", "*")), ("x:and", term("x", "and")),
    ("process.pid:5", Between("process.pid", 5, 5)), ("process.pid:>5", Between("process.pid", 6, None)),
    ("process.pid:<=5.5", Between("process.pid", None, 5)), ("process.exit_code:-1", Between("process.exit_code", -1, -1)),
    ("process.pid:{5 TO 9}", Between("process.pid", 6, 8)), ("process.pid:[* TO *]", Exists("process.pid")),
    ("source.ip:10.1.2.3/8", Addresses("source.ip", 4, 10 << 24, (11 << 24) - 1, 8)),
    ("@timestamp:1970-01-01T00:00:01Z", Between("@timestamp", 1_000_000, 1_999_999)),
    ("@timestamp:>1970-01-01", Between("@timestamp", 86_400_000_000, None)),
    ("@timestamp:<1970-01-02", Between("@timestamp", None, 86_400_000_000 - 1)),
    ("@timestamp:1970", Between("@timestamp", 0, 365 * 86_400_000_000 - 1)),
    ("@timestamp:1970-01-01T00:00:00.5Z", Between("@timestamp", 500_000, 599_999)),
    (r"odd\ name\:x:y", term("odd name:x", "y")),
])
def test_meaning(text: str, root: object) -> None:
    assert parse(text).root == root


@pytest.mark.parametrize(("text", "says"), [
    ("x" * (MAX_BYTES + 1), "bytes long"), (" OR ".join(["x"] * 501), "more than 500"), ("(" * 101 + "x" + ")" * 101, "nested"),
    ("NOT " * 101 + "x", "nested"), ("x:(" + "(" * 100 + "a" + ")" * 100 + ")", "nested"), ("a\0b", "NUL"), ("\ud800", "half a character"),
])
def test_too_much_is_refused(text: str, says: str) -> None:
    with pytest.raises(QueryError, match=says):
        parse(text)


def test_what_is_just_allowed_is_read() -> None:
    parse(" OR ".join(["x"] * 500))
    parse("(" * 100 + "x" + ")" * 100)
