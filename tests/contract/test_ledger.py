"""The ledger on both databases: its ranges agree with sets of numbers, whatever is done to it, in whatever order."""
from __future__ import annotations

import random

import pytest

from soc.database import Database
from soc.detect.ledger import FILLED, LOST, Gap, Ledger, Superseded
from soc.event import Lane

RULES = ("r1", "r2")
END = 40


def numbers(ranges: object) -> list[int]:
    return sorted(n for one in ranges for n in range(one.first, one.last))  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(8))
def test_gaps_are_the_positions_noted_and_not_yet_closed(state_db: Database, seed: int) -> None:
    chance, ledger = random.Random(seed), Ledger(state_db)
    open_: dict[str, set[int]] = {rule: set() for rule in RULES}
    filled: dict[str, set[int]] = {rule: set() for rule in RULES}
    for now in range(1, 60):
        rule = chance.choice(RULES)
        first = chance.randrange(END)
        last = chance.randrange(first + 1, END + 1)
        these = set(range(first, last))
        with state_db.write() as connection:
            match chance.choice(["note", "note", "fill", "fail", "lose", "hurry"]):
                case "note":
                    ledger.note_gaps(connection, [Gap(rule, "live", first, last, chance.choice(["x", "y"]), 0, now)])
                    open_[rule] |= these
                case "fill":
                    ledger.fill(connection, rule, "live", first, last, "v", now)
                    filled[rule] |= these & open_[rule]
                    open_[rule] -= these
                case "fail":
                    ledger.fail(connection, rule, "live", first, last, "no", now)
                case "lose":
                    ledger.lose(connection, "live", first, last, "gone", now, rule_id=rule)
                    open_[rule] -= these
                case "hurry":
                    ledger.hurry(connection, rule)
        for one in RULES:
            found = numbers(ledger.gaps(one))
            assert found == sorted(set(found)) == sorted(open_[one]), "no position is a gap twice"
    for one in RULES:
        assert set(numbers(c for c in ledger.closed(one, 10_000) if c.outcome == FILLED)) == filled[one]
    assert {rule for rule in RULES if open_[rule]} == set(ledger.waiting())


@pytest.mark.parametrize("seed", range(4))
def test_spans_of_pieces_judged_in_any_order_are_one(state_db: Database, seed: int) -> None:
    ledger, pieces = Ledger(state_db), [(n, n + 5) for n in range(0, END, 5)]
    random.Random(seed).shuffle(pieces)
    for now, (first, last) in enumerate(pieces, 1):
        with state_db.write() as connection:
            ledger.note_span(connection, "v1", Lane.LIVE, first, last, now)
    [span] = ledger.spans()
    assert (span.first, span.last, span.began, span.ended) == (0, END, 1, len(pieces))


def test_the_cursor_moves_only_from_where_it_stands(state_db: Database) -> None:
    ledger = Ledger(state_db)
    with state_db.write() as connection:
        ledger.advance(connection, "v1", Lane.LIVE, 0, 10, 1)
    with pytest.raises(Superseded, match="stands at 10, not at 0"), state_db.write() as connection:
        ledger.note_gaps(connection, [Gap("r1", "live", 0, 10, "x", 0, 2)])
        ledger.advance(connection, "v1", Lane.LIVE, 0, 10, 2)
    assert ledger.gaps() == [] and ledger.positions() == {Lane.LIVE: 10}


@pytest.mark.parametrize("seed", range(6))
def test_F75_pieces_that_several_detectors_finish_in_any_order_are_each_judged_once(state_db: Database, seed: int) -> None:
    chance, ledger = random.Random(seed), Ledger(state_db)
    pieces = [(n, n + 5) for n in range(0, END, 5)]
    chance.shuffle(pieces)
    done: set[int] = set()
    for now, (first, last) in enumerate(pieces, 1):
        with state_db.write() as connection:
            ledger.advance(connection, "v1", Lane.LIVE, first, last, now, shared=True)
        done |= {*range(first, last)}
        [at] = [ledger.positions().get(Lane.LIVE, 0)]
        assert at == next(n for n in range(END + 1) if n not in done), "the cursor stands at the first that is not judged"
        assert sorted(n for low, high in ledger.judged()[Lane.LIVE] for n in range(low, high)) == sorted(done)
        again = chance.choice(pieces[:now])
        with pytest.raises(Superseded), state_db.write() as connection:
            ledger.advance(connection, "v1", Lane.LIVE, *again, now, shared=True)
    assert ledger.judged() == {Lane.LIVE: [(0, END)], Lane.BULK: []}
    [span] = ledger.spans()
    assert (span.first, span.last) == (0, END)


def test_F75_one_detector_alone_never_judges_ahead_but_goes_on_behind_what_others_did(state_db: Database) -> None:
    ledger = Ledger(state_db)
    with pytest.raises(Superseded), state_db.write() as connection:
        ledger.advance(connection, "v1", Lane.LIVE, 5, 10, 1)
    with state_db.write() as connection:
        ledger.advance(connection, "v1", Lane.LIVE, 5, 10, 1, shared=True)
    with pytest.raises(Superseded), state_db.write() as connection:
        ledger.advance(connection, "v1", Lane.LIVE, 0, 7, 2)
    with state_db.write() as connection:
        ledger.advance(connection, "v1", Lane.LIVE, 0, 5, 2)
    assert ledger.positions() == {Lane.LIVE: 10}


def test_a_gap_that_fails_waits_longer_and_what_is_beside_it_does_not(state_db: Database) -> None:
    ledger = Ledger(state_db)
    with state_db.write() as connection:
        ledger.note_gaps(connection, [Gap("r1", "live", 0, 30, "x", 0, 1)])
        ledger.fail(connection, "r1", "live", 10, 20, "no", 1)
    assert [(g.first, g.last) for g in ledger.due(2)] == [(0, 10), (20, 30)]
    [failed] = [g for g in ledger.gaps() if g.attempts]
    assert (failed.first, failed.last, failed.error) == (10, 20, "no")
    assert failed in ledger.due(failed.due)


def test_losses_of_files_that_share_positions_leave_the_gap_open(state_db: Database) -> None:
    ledger = Ledger(state_db)
    with state_db.write() as connection:
        ledger.note_gaps(connection, [Gap("r1", "live", 0, 30, "x", 0, 1)])
        ledger.lose(connection, "live", 10, 20, "gone", 2, keep=True)
        ledger.lose(connection, "live", 10, 20, "gone", 3, keep=True)
    assert numbers(ledger.gaps("r1")) == list(range(30))
    [lost] = ledger.closed("r1")
    assert (lost.first, lost.last, lost.outcome) == (10, 20, LOST)
