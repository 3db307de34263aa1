"""Whether the window that ends with a row satisfies a correlation: pure, exact, and a function of the rows alone.

The window of a row at time t is (t - timespan, t], with every row of that same instant in it. Rows are fed in order of time, so a whole
group costs one pass.
"""
from __future__ import annotations

import operator
import re
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Final, Protocol, TypeVar

from soc.detect.correlation.spec import Correlation, leaves

__all__ = ["Row", "capacity", "judge", "number", "seen_agencies", "thin"]

_OPS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge, "eq": operator.eq, "neq": operator.ne}
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,3})?")
_LEAST: Final = 100
_OTHERS: Final = 2_000


class Row(Protocol):
    """What a window needs to know of a base match: when (µs UTC), by which reference, with which value ("" none)."""

    @property
    def time(self) -> int: ...

    @property
    def ref(self) -> int: ...

    @property
    def value(self) -> str: ...


class Placed(Row, Protocol):
    """A row that also knows whose it is."""

    @property
    def agency(self) -> str: ...


_R = TypeVar("_R", bound=Row)


class _Measure(Protocol):
    """The content of the window while it slides."""

    def add(self, row: Row) -> None: ...

    def remove(self, row: Row) -> None: ...

    def holds(self, opens: int) -> bool:
        """Whether the condition is met; `opens` is where the window begins (not in it)."""
        ...


def judge(spec: Correlation, rows: Sequence[Row]) -> list[bool]:
    """For each row, in order of (time, ref), whether its window satisfies the condition."""
    window = _measure(spec)
    verdicts = [False] * len(rows)
    oldest = at = 0
    while at < len(rows):
        time, first = rows[at].time, at
        while at < len(rows) and rows[at].time == time:
            window.add(rows[at])
            at += 1
        opens = time - spec.timespan
        while rows[oldest].time <= opens:
            window.remove(rows[oldest])
            oldest += 1
        if window.holds(opens):
            verdicts[first:at] = [True] * (at - first)
    return verdicts


def seen_agencies(spec: Correlation, rows: Sequence[Placed]) -> dict[int, frozenset[str]]:
    """Of rows in order of time: for each time, the agencies of the rows in the window that ends there."""
    seen: Counter[str] = Counter()
    found: dict[int, frozenset[str]] = {}
    oldest = at = 0
    while at < len(rows):
        time = rows[at].time
        while at < len(rows) and rows[at].time == time:
            seen[rows[at].agency] += 1
            at += 1
        while rows[oldest].time <= time - spec.timespan:
            seen[rows[oldest].agency] -= 1
            oldest += 1
        found[time] = frozenset(agency for agency, rows_of in seen.items() if rows_of)
    return found


def capacity(spec: Correlation) -> int:
    """How many of the earliest, and how many of the latest rows of a group and stretch of one timespan are kept."""
    return max(spec.count + 1, _LEAST) if spec.type == "event_count" else max(_OTHERS, spec.count + 1 if spec.type == "value_count" else 0)


def thin(spec: Correlation, rows: Sequence[_R]) -> list[_R]:
    """The rows of one stretch that are dropped because they are too many: a function of the set, whatever its order of arrival.

    Of an event count the earliest and latest `capacity` stay, which decides every window exactly: whoever is dropped, or counts
    across the dropped, has at least `capacity` rows in its window. Where values or references are told apart, the first and
    last row of each stay before that.
    """
    most = capacity(spec)
    if len(rows) <= 2 * most:
        return []
    kept: Sequence[_R] = rows
    if spec.type == "value_count" or (spec.type == "temporal"):
        first: dict[tuple[int, str], int] = {}
        last: dict[tuple[int, str], int] = {}
        for at, row in enumerate(rows):
            first.setdefault((row.ref, row.value), at)
            last[(row.ref, row.value)] = at
        kept = [rows[at] for at in sorted({*first.values(), *last.values()})]
    if len(kept) > 2 * most:
        kept = [*kept[:most], *kept[-most:]]
    staying = {id(row) for row in kept}
    return [row for row in rows if id(row) not in staying]


def number(text: str) -> int | Fraction | None:
    """The number that text spells, exactly; None if it spells none that is finite and of bounded size."""
    text = text.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    if not _NUMBER.fullmatch(text):
        return None
    found = float(text)
    if found in (float("inf"), float("-inf")):
        return None
    return Fraction(found).limit_denominator(10**12)


def _measure(spec: Correlation) -> _Measure:
    compare, count = _OPS[spec.op], spec.count
    if spec.tree is not None:
        return _OrderedExpression(spec) if spec.type == "temporal_ordered" else _Expression(spec.tree)
    if spec.type == "event_count":
        return _Count(lambda found: compare(found, count))
    if spec.type == "value_count":
        return _Distinct(lambda row: row.value, lambda found: compare(found, count))
    if spec.type == "temporal":
        return _Distinct(lambda row: row.ref, lambda found: compare(found, count))
    if spec.type == "temporal_ordered":
        return _Chain(len(spec.rules), lambda found: compare(found, count))
    if spec.type in ("value_sum", "value_avg"):
        return _Sum(spec.type == "value_avg", lambda found: compare(found, count))
    percentile = 50 if spec.type == "value_median" else spec.percentile
    return _Ranked(percentile, spec.type == "value_median", lambda found: compare(found, count))


class _Count:
    def __init__(self, test: Callable[[int], bool]) -> None:
        self._test, self._rows = test, 0

    def add(self, row: Row) -> None:
        self._rows += 1

    def remove(self, row: Row) -> None:
        self._rows -= 1

    def holds(self, opens: int) -> bool:
        return self._test(self._rows)


class _Distinct:
    """How many different values, or rules, there are."""

    def __init__(self, of: Callable[[Row], Any], test: Callable[[int], bool]) -> None:
        self._of, self._test = of, test
        self._seen: Counter[Any] = Counter()

    def add(self, row: Row) -> None:
        self._seen[self._of(row)] += 1

    def remove(self, row: Row) -> None:
        value = self._of(row)
        self._seen[value] -= 1
        if not self._seen[value]:
            del self._seen[value]

    def holds(self, opens: int) -> bool:
        return self._test(len(self._seen))


class _Expression:
    """An extended condition: which rules occur, in any order."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        self._seen: Counter[int] = Counter()

    def add(self, row: Row) -> None:
        self._seen[row.ref] += 1

    def remove(self, row: Row) -> None:
        self._seen[row.ref] -= 1

    def holds(self, opens: int) -> bool:
        return _true(self._tree, lambda ref, _: self._seen[ref] > 0)


class _Chain:
    """The longest row of different rules that occur in the order listed; rows of one instant count as in order.

    `latest[k][r]` is the latest start of such a chain of k + 1 rules that ends with rule r: it lies in the window if its start does.
    """

    def __init__(self, rules: int, test: Callable[[int], bool]) -> None:
        self._rules, self._test = rules, test
        self._latest = [[-(2**63)] * rules for _ in range(rules)]

    def add(self, row: Row) -> None:
        ref = row.ref
        for length in range(ref, 0, -1):
            self._latest[length][ref] = max(self._latest[length][ref], *self._latest[length - 1][:ref])
        self._latest[0][ref] = row.time

    def remove(self, row: Row) -> None:
        pass

    def holds(self, opens: int) -> bool:
        return self._test(next((length for length in range(self._rules, 0, -1) if max(self._latest[length - 1]) > opens), 0))


class _OrderedExpression:
    """An extended condition in order: some of the rules that make it true occur in the order listed.

    Rules under a `not` are in the window or not, wherever they stand.
    """

    def __init__(self, spec: Correlation) -> None:
        self._tree = spec.tree
        self._latest = dict.fromkeys(range(1, 2 ** len(spec.rules)), -2 ** 63)
        self._seen: Counter[int] = Counter()
        self._negated = {ref for ref, negated in leaves(spec.tree) if negated}

    def add(self, row: Row) -> None:
        bit = 1 << row.ref
        for below in range(1, bit):
            self._latest[below | bit] = max(self._latest[below | bit], self._latest[below])
        self._latest[bit] = row.time
        self._seen[row.ref] += 1

    def remove(self, row: Row) -> None:
        self._seen[row.ref] -= 1

    def holds(self, opens: int) -> bool:
        return any(start > opens and self._met(mask) for mask, start in self._latest.items()) or self._met(0)

    def _met(self, mask: int) -> bool:
        return _true(self._tree, lambda ref, negated: self._seen[ref] > 0 if negated else bool(mask >> ref & 1))


class _Sum:
    """Sum or mean, exact: what is added and taken away again leaves nothing behind."""

    def __init__(self, mean: bool, test: Callable[[Any], bool]) -> None:
        self._mean, self._test = mean, test
        self._sum: int | Fraction = 0
        self._rows = 0

    def add(self, row: Row) -> None:
        self._sum += number(row.value) or 0
        self._rows += 1

    def remove(self, row: Row) -> None:
        self._sum -= number(row.value) or 0
        self._rows -= 1

    def holds(self, opens: int) -> bool:
        return self._rows > 0 and self._test(Fraction(self._sum) / self._rows if self._mean else self._sum)


class _Ranked:
    """Percentile by nearest rank: the least value that `percentile` of a hundred do not exceed; the median halves between two."""

    def __init__(self, percentile: int, halve: bool, test: Callable[[Any], bool]) -> None:
        self._percentile, self._halve, self._test = percentile, halve, test
        self._values: list[int | Fraction] = []

    def add(self, row: Row) -> None:
        insort(self._values, number(row.value) or 0)

    def remove(self, row: Row) -> None:
        del self._values[bisect_left(self._values, number(row.value) or 0)]

    def holds(self, opens: int) -> bool:
        rows = len(self._values)
        if not rows:
            return False
        if self._halve:
            return self._test(Fraction(self._values[(rows - 1) // 2] + self._values[rows // 2]) / 2)
        return self._test(self._values[max(0, -(-self._percentile * rows // 100) - 1)])


def _true(tree: Any, present: Callable[[int, bool], bool], negated: bool = False) -> bool:
    if isinstance(tree, int):
        return present(tree, negated)
    if tree[0] == "!":
        return not _true(tree[1], present, not negated)
    parts = (_true(part, present, negated) for part in tree[1:])
    return all(parts) if tree[0] == "&" else any(parts)
