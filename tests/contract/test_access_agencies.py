"""The agencies: a tree valid in time, on both dialects."""
from __future__ import annotations

import pytest

from soc.access.agencies import AgencyStore
from soc.access.audit import Audit
from soc.errors import DuplicateError, InputRefused, NotFoundError
from soc.event import UNASSIGNED, Scope

EVERYTHING = Scope.everything()


@pytest.fixture
def agencies(access_db):
    store = AgencyStore(access_db)
    for agency, parent in (("tinh", None), ("so-tc", "tinh"), ("so-yt", "tinh"), ("bv-1", "so-yt"), ("bv-2", "so-yt")):
        store.add(agency, f"Tên {agency}", f"Name {agency}", parent=parent, actor="test", now=1000)
    return store


def ids(found):
    return [agency.id for agency in found]


def test_unassigned_is_there_from_the_start_and_stays_as_it_is(access_db):
    store = AgencyStore(access_db)
    assert ids(store.list(EVERYTHING, at=1)) == [UNASSIGNED]
    for change in (
        lambda: store.rename(UNASSIGNED, "x", actor="t", now=1), lambda: store.move(UNASSIGNED, None, actor="t", now=1),
        lambda: store.close(UNASSIGNED, actor="t", now=1), lambda: store.add("a", "A", parent=UNASSIGNED, actor="t", now=1),
    ):
        with pytest.raises(InputRefused):
            change()


def test_lowest_common_ancestor_is_the_nearest_agency_of_all(agencies):
    def nearest(*them):
        return agencies.lowest_common_ancestor(them, at=2000)

    assert nearest("bv-1", "bv-2") == "so-yt"
    assert nearest("bv-1", "so-yt") == "so-yt"
    assert nearest("bv-1", "so-tc") == "tinh"
    assert nearest("bv-1") == "bv-1"
    assert nearest("bv-1", UNASSIGNED) == UNASSIGNED
    assert nearest("bv-1", "nobody-knows") == UNASSIGNED
    assert nearest() == UNASSIGNED


def test_a_move_changes_the_tree_from_then_on_only(agencies):
    agencies.move("bv-1", "so-tc", actor="test", now=5000)
    assert agencies.tree(4999).ancestors("bv-1") == ["bv-1", "so-yt", "tinh"]
    assert agencies.tree(5000).ancestors("bv-1") == ["bv-1", "so-tc", "tinh"]
    agencies.move("bv-1", None, actor="test", now=6000)
    assert agencies.get("bv-1", EVERYTHING, at=6000).parent is None
    assert agencies.get("bv-1", EVERYTHING, at=5500).parent == "so-tc"


def test_an_agency_never_comes_to_stand_under_itself(agencies):
    for parent in ("bv-1", "so-yt"):
        with pytest.raises(InputRefused, match="under"):
            agencies.move("so-yt", parent, actor="test", now=2000)


def test_closed_agencies_stay_in_their_parents_scope(agencies):
    agencies.close("bv-1", actor="test", now=3000)
    assert "bv-1" not in ids(agencies.list(EVERYTHING, at=3000))
    assert "bv-1" in ids(agencies.list(EVERYTHING, at=2999))
    assert "bv-1" in ids(agencies.list(EVERYTHING, at=3000, closed=True))
    assert agencies.tree(4000).subtree(["so-yt"]) == {"so-yt", "bv-1", "bv-2"}
    with pytest.raises(NotFoundError):
        agencies.add("phong-1", "Phòng 1", parent="bv-1", actor="test", now=4000)


def test_listing_shows_no_more_than_the_scope(agencies):
    assert ids(agencies.list(Scope.of(["bv-1", "so-tc"]), at=2000)) == ["bv-1", "so-tc"]
    assert ids(agencies.list(Scope.of([]), at=2000)) == []
    with pytest.raises(NotFoundError):
        agencies.get("so-yt", Scope.of(["so-tc"]), at=2000)


def test_names_keep_their_accents_and_can_change(agencies):
    agencies.rename("so-tc", "Sở Tài chính", actor="test", now=2000)
    found = agencies.get("so-tc", EVERYTHING, at=2000)
    assert (found.name_vi, found.name_en) == ("Sở Tài chính", "Name so-tc")
    for bad in ("", "a\x1bb", "x" * 201, "\u202eabc"):
        with pytest.raises(InputRefused):
            agencies.add("new", bad, actor="test", now=2000)


@pytest.mark.parametrize("slug", ["", "A", "sở", "a b", "../x", "a/b", "x" * 65, "-a", "a-", "a\n"])
def test_ids_are_slugs(access_db, slug):
    with pytest.raises(InputRefused):
        AgencyStore(access_db).add(slug, "Tên", actor="test", now=1)


def test_unknown_and_repeated_agencies_are_named(agencies):
    with pytest.raises(DuplicateError, match="so-tc"):
        agencies.add("so-tc", "Again", actor="test", now=2000)
    with pytest.raises(NotFoundError, match="nowhere"):
        agencies.add("new", "New", parent="nowhere", actor="test", now=2000)
    for change in (
        lambda: agencies.move("nowhere", None, actor="t", now=1), lambda: agencies.rename("nowhere", "x", actor="t", now=1),
    ):
        with pytest.raises(NotFoundError, match="nowhere"):
            change()


def test_every_change_is_audited_and_a_refused_one_is_not(agencies, access_db):
    before = Audit(access_db).head().seq
    agencies.move("bv-1", "so-tc", actor="local:an", now=2000)
    with pytest.raises(InputRefused):
        agencies.move("so-tc", "bv-1", actor="local:an", now=2000)
    entry = Audit(access_db).list(limit=1)[0]
    assert (entry.seq, entry.actor, entry.action, entry.object, entry.detail) == (
        before + 1, "local:an", "agency.move", "bv-1", {"parent": "so-tc"},
    )
