"""Generated rules, as YAML, through reading, lint, pySigma, compiler and engine: they hold where the specification's words say so."""
from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from soc.detect.engine import Engine
from soc.detect.rules import read_rules
from soc.store.columns import batch_of
from tests.property.test_engine_agrees import NETWORKS, PARTS, REGEX, SAID, TIMES
from tests.sigma_cases import event_of
from tests.sigma_meaning import Record, condition_holds, literal, selected

FIELDS = ["f", "g", "h"]
WORDS = st.lists(st.sampled_from([*"aBđẬσςß1\\*?-/ –", " -x", "\\\\", "\\*", "\\?", "%", "_"]), max_size=4).map("".join)
SOLID = st.lists(st.sampled_from([*"aBđẬß1-/", " -x", "cmd"]), min_size=1, max_size=4).map("".join)
PLACES = st.sampled_from([[], ["contains"], ["startswith"], ["endswith"]])
NAMES = ["sel_a", "sel_b", "filter_x", "_hidden"]


def several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.lists(values, min_size=2, max_size=3))


def with_list(chain: list[str], values: Any, joined: list[str]) -> tuple[list[str], Any]:
    """The chain with `all` and `neq` where they may stand: `all` only behind several values."""
    return [*chain, *(one for one in joined if one != "all" or isinstance(values, list))], values


JOINED = st.sampled_from([[], [], ["all"], ["neq"], ["all", "neq"]])


@st.composite
def items(draw: Any) -> tuple[str, Any]:
    kind = draw(st.sampled_from(["plain", "text", "text", "text", "encoded", "re", "cidr", "number", "exists", "fieldref", "time"]))
    chain: list[str] = []
    values: Any
    if kind == "plain":
        values = draw(several(st.one_of(WORDS, st.none(), st.just(""), st.sampled_from([12, 7]), st.booleans())))
    elif kind == "text":
        chain = [*draw(st.sampled_from([[], [], ["windash"]])), *draw(PLACES), *draw(st.sampled_from([[], [], ["cased"]]))]
        chain, values = with_list(chain, draw(several(WORDS.filter(lambda text: text.strip("*") != ""))), draw(JOINED))
    elif kind == "encoded":
        chain = [*draw(st.sampled_from([[], ["wide"], ["utf16be"]])), draw(st.sampled_from(["base64", "base64offset"])), "contains"]
        values = draw(several(SOLID.filter(lambda text: len(text) > 1)))
    elif kind == "re":
        chain, values = with_list(["re", *draw(st.sampled_from([[], ["i"], ["s"], ["m"], ["i", "s"]]))],
                                  draw(several(REGEX.filter(lambda pattern: not pattern.startswith("(?")))), draw(JOINED))
    elif kind == "cidr":
        chain, values = with_list(["cidr"], draw(several(st.sampled_from(NETWORKS))), draw(JOINED))
    elif kind == "number":
        chain, values = [draw(st.sampled_from(["lt", "lte", "gt", "gte"]))], draw(st.sampled_from([1, -2, 9.5, 12, 0.1]))
    elif kind == "exists":
        chain, values = ["exists"], draw(st.booleans())
    elif kind == "fieldref":
        chain, values = ["fieldref", *draw(PLACES), *draw(st.sampled_from([[], ["neq"]]))], draw(st.sampled_from(FIELDS))
    else:
        part = draw(st.sampled_from(sorted(PARTS)))
        chain, values = [part, *draw(st.sampled_from([[], ["lt"], ["gte"], ["neq"]]))], PARTS[part]
    return "|".join([draw(st.sampled_from(FIELDS)), *chain]), values


SELECTION = st.one_of(
    st.lists(items(), min_size=1, max_size=3).map(dict), st.lists(items().map(lambda one: dict([one])), min_size=2, max_size=3),
    st.lists(SOLID, min_size=1, max_size=2), st.lists(SOLID, min_size=2, max_size=2).map(lambda some: {"|all": some}))


@st.composite
def rules(draw: Any) -> tuple[dict[str, Any], Any]:
    """Selections by name, and a condition's tree."""
    names = ["sel_a", *draw(st.lists(st.sampled_from(NAMES[1:]), unique=True))]
    selections = {name: draw(SELECTION) for name in names}
    patterns = ["them", "sel_*", "*_a", *(["filter_*"] if "filter_x" in names else [])]
    leaf = st.one_of(st.sampled_from(names), st.tuples(st.sampled_from(["1", "all"]), st.sampled_from(patterns)))
    tree = st.recursive(leaf, lambda inner: st.one_of(
        st.tuples(st.just("not"), inner), st.tuples(st.just("and"), inner, inner), st.tuples(st.just("or"), inner, inner, inner)), max_leaves=5)
    return selections, draw(tree)


def written(tree: Any, above: int = 0) -> str:
    """A condition's text with no more parentheses than precedence needs: not, then and, then or."""
    if isinstance(tree, str):
        return tree
    sign, *parts = tree
    if sign in ("1", "all"):
        return f"{sign} of {parts[0]}"
    height = {"or": 1, "and": 2, "not": 3}[sign]
    text = f"not {written(parts[0], 3)}" if sign == "not" else f" {sign} ".join(written(part, height) for part in parts)
    return f"({text})" if height < above else text


def asked_in(selection: Any) -> list[tuple[str, list[str], str]]:
    """(field, modifiers, text) of every value that a selection holds; the field "" of keywords."""
    if isinstance(selection, dict):
        return [(*split(key), str(one)) for key, values in selection.items() for one in (values if isinstance(values, list) else [values])]
    return [found for one in selection for found in (asked_in(one) if isinstance(one, dict) else [("", [], one)])]


def split(key: str) -> tuple[str, list[str]]:
    field, *modifiers = key.split("|")
    return field, modifiers


CHANGES = st.sampled_from([
    str, str, str.upper, str.casefold, lambda text: text.replace("-", "/"), lambda text: text.replace("*", "xy").replace("?", "z"),
    lambda text: text.replace("\\\\", "\\")])
AROUND = st.sampled_from(["", "", "", "a", " ", "\n", "đ"])
PADS = st.sampled_from([b"", b"x", b"xx", b"xxx"])
ADDRESSES = st.sampled_from(["10.1.2.3", "10.200.0.1", "172.20.1.1", "192.168.1.7", "::1", "fe80::1", "::ffff:10.0.0.1"])


def near(modifiers: list[str], text: str) -> st.SearchStrategy[str]:
    """Values that a text of a rule may hold for: itself in other case, with other dashes, something around it; encoded; an address, a time."""
    if "base64" in modifiers or "base64offset" in modifiers:
        data = text.encode("utf-16-le" if "wide" in modifiers else "utf-16-be" if "utf16be" in modifiers else "utf-8")
        return st.builds(lambda before, after: base64.b64encode(before + data + after).decode(), PADS, PADS)
    if "cidr" in modifiers:
        return ADDRESSES
    if PARTS.keys() & set(modifiers):
        return st.sampled_from(TIMES)
    if {"lt", "lte", "gt", "gte"} & set(modifiers):
        return st.sampled_from(["0", "1", "9.5", "9.6", "-3", "11", "1e3", "0.1", text])
    return st.builds(lambda change, before, after: before + change(text) + after, CHANGES, AROUND, AROUND)


@st.composite
def judged(draw: Any) -> tuple[dict[str, Any], Any, list[Record]]:
    selections, tree = draw(rules())
    asked = [one for selection in selections.values() for one in asked_in(selection)]
    records: list[Record] = []
    for _ in range(draw(st.integers(1, 6))):
        record: Record = {}
        for field, modifiers, text in draw(st.lists(st.sampled_from(asked), min_size=1, max_size=4)):
            record[field or "g"] = draw(st.one_of(near(modifiers, text), near(modifiers, text), near(modifiers, text), st.sampled_from(SAID), st.none()))
        records.append(record)
    return selections, tree, records


@settings(max_examples=200, deadline=None)
@given(judged())
def test_a_rule_holds_where_the_specification_says(found):
    selections, tree, records = found
    rule = {"title": "generated", "logsource": {"category": "golden"}, "level": "low",
            "detection": selections | {"condition": written(tree)}}
    read, faults, _ = read_rules("generated.yml", json.dumps(rule).encode())
    assert not faults, (rule, faults)
    assert read[0].rule is not None
    expected = [condition_holds(tree, selections, record) for record in records]
    hits = {hit.row for hit in Engine([read[0].rule], ignore_logsource=True).match(batch_of([event_of(record) for record in records]))}
    assert [row in hits for row in range(len(records))] == expected, (rule, records)


def test_the_words_of_the_specification_are_read_right():
    """The reader itself, on what the specification prints."""
    assert selected({"CommandLine|windash|contains": " -param-name "}, {"CommandLine": "x /param-name y"})
    assert not selected({"CommandLine|windash|contains": " -param-name "}, {"CommandLine": "x /param/name y"})
    assert selected({"f|wide|base64offset|contains": "ping"}, {"f": base64.b64encode("a ping".encode("utf-16-le")).decode()})
    assert selected({"f|contains|all": ["a", "b"]}, {"f": "ba"})
    assert selected({"f": r"C:\\*\x"}, {"f": r"C:\any\x"})
    assert selected({"f": literal("a*b\\")}, {"f": "a*b\\"})
    assert written(("and", ("or", "a", "b"), ("not", ("and", "a", "b")))) == "(a or b) and not (a and b)"
