"""The audit chain: whatever is done to its rows shows (F69), and nothing in it moves a cursor (F58)."""
from __future__ import annotations

import pytest
from sqlalchemy import text

from soc.access.audit import Audit, Head
from soc.errors import InputRefused


@pytest.fixture
def audit(access_db):
    log = Audit(access_db)
    for n in range(1, 11):
        log.record("u_1 an", "alert.close", f"a_{n}", {"n": n, "reason": "được rồi"}, now=n * 1_000_000)
    return log


def tamper(access_db, statement, **values):
    with access_db.write() as connection:
        connection.execute(text(statement), values)


def test_an_untouched_log_verifies(audit):
    assert audit.verify() is None
    assert audit.verify(audit.head()) is None
    assert audit.head().seq == 10


@pytest.mark.parametrize("change", [
    "actor = 'u_2 mallory'", "at = at + 1", "action = 'alert.show'", "object = 'a_0'", "detail = '{}'", "hash = prev_hash",
    "prev_hash = hash", "seq = 40",
])
def test_an_edited_row_is_named(audit, access_db, change):
    tamper(access_db, f"UPDATE audit SET {change} WHERE seq = 4")
    assert audit.verify() == 4


def test_a_deleted_row_is_named(audit, access_db):
    tamper(access_db, "DELETE FROM audit WHERE seq = 7")
    assert audit.verify() == 7


def test_a_cut_off_end_is_named(audit, access_db):
    tamper(access_db, "DELETE FROM audit WHERE seq > 8")
    assert audit.verify() == 9


def test_an_emptied_log_is_named(audit, access_db):
    tamper(access_db, "DELETE FROM audit")
    assert audit.verify() == 1


def test_a_log_cut_back_together_with_its_head_differs_from_a_printed_head(audit, access_db):
    printed = Head.parse(str(audit.head()))
    tamper(access_db, "DELETE FROM audit WHERE seq > 5")
    tamper(access_db, "UPDATE audit_head SET seq = 5, hash = (SELECT hash FROM audit WHERE seq = 5)")
    assert audit.verify() is None
    assert audit.verify(printed) == 6


def test_a_log_written_anew_differs_from_a_printed_head(audit, access_db):
    printed = audit.head()
    tamper(access_db, "DELETE FROM audit")
    tamper(access_db, "DELETE FROM audit_head")
    for n in range(1, 13):
        audit.record("u_2 mallory", "nothing", f"{n}", now=n)
    assert audit.verify() is None
    assert audit.verify(printed) == 10


@pytest.mark.parametrize("head", ["hash = 'x'", "seq = 3", "seq = 40"])
def test_a_changed_head_is_noticed(audit, access_db, head):
    tamper(access_db, f"UPDATE audit_head SET {head}")
    assert audit.verify() is not None


def test_a_row_is_kept_exactly_if_its_transaction_is(audit, access_db):
    with pytest.raises(ZeroDivisionError), access_db.write() as connection:
        audit.record("u_1", "user.add", "u_9", now=1, connection=connection)
        raise ZeroDivisionError
    assert audit.head().seq == 10
    with access_db.write() as connection:
        audit.record("u_1", "user.add", "u_9", now=1, connection=connection)
    assert audit.head().seq == 11
    assert audit.verify() is None


def test_control_characters_are_escaped_everywhere(access_db):
    audit = Audit(access_db)
    audit.record("an\r\nroot", "x\x1b[2J", "\u202eexe", {"na\x00me": ["a\nb", {"k": "\x7f\ud800"}], "n": 1}, now=1)
    entry = audit.list()[0]
    assert (entry.actor, entry.action, entry.object) == ("an\\u000d\\u000aroot", "x\\u001b[2J", "\\u202eexe")
    assert entry.detail == {"na\\u0000me": ["a\\u000ab", {"k": "\\u007f\\ud800"}], "n": 1}
    assert audit.verify() is None


def test_a_huge_detail_is_kept_as_its_hash(access_db):
    audit = Audit(access_db)
    audit.record("u_1", "x", detail={"text": "đ" * 100_000}, now=1)
    assert set(audit.list()[0].detail) == {"sha256", "truncated_bytes"}
    assert audit.verify() is None


def test_the_newest_rows_come_first_page_by_page(audit):
    first = audit.list(limit=4)
    assert [entry.seq for entry in first] == [10, 9, 8, 7]
    assert [entry.seq for entry in audit.list(limit=4, before=7)] == [6, 5, 4, 3]
    assert audit.list(actor="nobody") == []
    assert len(audit.list(action="alert.close")) == 10


@pytest.mark.parametrize("head", ["", "5", "x:y", "5:" + "g" * 64, "-1:" + "0" * 64])
def test_what_is_no_head_is_refused(head):
    with pytest.raises(InputRefused):
        Head.parse(head)
