"""The SELECTs of the embedded store. Nothing but our own words and quoted column names becomes SQL; values are bound."""
from __future__ import annotations

from collections.abc import Mapping

from soc.ecs import kind_of
from soc.event import UNASSIGNED, Scope
from soc.store.columns import KV
from soc.store.embedded_files import Source
from soc.store.eventstore import TimeRange
from soc.store.page import Key
from soc.store.query_sql import FALSE, TRUE, condition
from soc.store.query_tree import Clause

__all__ = ["statement"]


def statement(source: Source, root: Clause, scope: Scope, within: TimeRange, what: str, tail: str, after: Key | None,
              values_of: str) -> tuple[str, list[object]]:
    """SELECT `what` from one source `tail`, and its bound values; "" where the source can hold nothing.

    `what` and `tail` are ours and may name {at} {hash} {n} {sub} {file} {row} {kv} {values}, the last being the values of
    the field `values_of`; `after` leaves out what stands before it in the order. The scope is always among the conditions.
    """
    have = source.columns
    if "@timestamp" not in have:
        return "", []
    tests: list[str] = []
    bound: list[object] = []
    looked = condition(root, have)
    if looked.sql == FALSE:
        return "", []
    at = have["@timestamp"]
    for sign, edge in ((">=", within.start), ("<", within.end)):
        if edge is not None:
            tests.append(f"{at} {sign} make_timestamptz(CAST(? AS BIGINT))")
            bound.append(edge)
    for column, allowed, absent in (("organization.id", scope.agencies, UNASSIGNED), ("host.name", scope.hosts, None)):
        if allowed is None:
            continue
        if column not in have:
            if absent not in allowed:
                return "", []
            continue
        marks = ", ".join("?" * len(allowed))
        inside = f"{have[column]} IN ({marks})"
        tests.append(f"({inside} OR {have[column]} IS NULL)" if absent in allowed else inside)
        bound += sorted(allowed)
    if looked.sql != TRUE:
        tests.append(looked.sql)
        bound += looked.values
    words = {
        "at": at, "file": source.file, "row": source.row,
        "hash": f"coalesce({have['soc.stream_hash']}, '')" if "soc.stream_hash" in have else "''",
        "n": f"coalesce({have['soc.n']}, 0)" if "soc.n" in have else "CAST(0 AS BIGINT)",
        "sub": f"coalesce({have['soc.sub']}, 0)" if "soc.sub" in have else "CAST(0 AS BIGINT)",
        "kv": have.get(KV, "NULL"),
    }
    first: list[object] = []
    if values_of:
        words["values"], first = _values(values_of, have)
        if not words["values"]:
            return "", []
    if after is not None:
        tests.append("(epoch_us({at}) < ? OR {hash} > ? OR ({hash} = ? AND ({n} < ? OR ({n} = ? AND {sub} < ?))))".format_map(words))
        bound += [after.at, after.stream_hash, after.stream_hash, -after.n, -after.n, -after.sub]
    for part in source.parts:
        if part.rows is not None:
            tests.append("(" + " OR ".join(f"({source.row} >= {low} AND {source.row} < {high})" for low, high in part.rows) + ")")
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    sql = f"SELECT {what.format_map(words)} FROM {source.sql}{where} {tail.format_map(words)}"
    return sql, [*first, *source.values, *bound]


def _values(name: str, have: Mapping[str, str]) -> tuple[str, list[object]]:
    """SQL for each distinct value of a field in an event, as text."""
    lists: list[str] = []
    bound: list[object] = []
    if name in have:
        column = f"epoch_us({have[name]})" if kind_of(name) == "date" else have[name]
        text = f"CAST({column} AS VARCHAR)"
        if name + "[]" not in have and KV not in have:
            return text, []
        lists.append(f"CASE WHEN {have[name]} IS NULL THEN [] ELSE [{text}] END")
    if name + "[]" in have:
        lists.append(f"coalesce({have[name + '[]']}, [])")
    if KV in have and kind_of(name) == "keyword":
        lists.append(f"list_transform(list_filter(coalesce({have[KV]}, []), lambda e: e.key = ?), lambda e: e.value)")
        bound.append(name)
    if not lists:
        return "", []
    joined = lists[0]
    for one in lists[1:]:
        joined = f"list_concat({joined}, {one})"
    return f"unnest(list_distinct({joined}))", bound
