"""Sources: tokens and addresses, on both dialects."""
from __future__ import annotations

import pytest

from soc.access.relay import RelayRule
from soc.access.sources import SourceStore
from soc.errors import ChangedError, DuplicateError, InputRefused, NotFoundError
from soc.event import UNASSIGNED, Lane, Scope
from soc.secret import Secret

EVERYTHING = Scope.everything()


@pytest.fixture
def sources(state_db):
    return SourceStore(state_db)


def test_a_source_is_found_by_its_token_as_it_was_made(sources):
    made, token = sources.create(
        "web-1", "Cổng thông tin", now=5, agency="so-tc", agencies=["bv-1", "bv-1"], format="nginx", timezone="UTC", year=2024,
        lane=Lane.BULK, retention="short",
    )
    assert token.reveal().startswith("soci_")
    found = sources.by_token(token)
    assert found == made
    assert (found.permitted, found.lane, found.year) == ({"so-tc", "bv-1"}, Lane.BULK, 2024)
    assert sources.by_token(token.reveal()) == made


def test_defaults_are_live_ndjson_of_nobody(sources):
    made, _ = sources.create("x", now=1)
    assert (made.name, made.kind, made.agency, made.lane, made.format, made.permitted) == (
        "x", "ndjson", UNASSIGNED, Lane.LIVE, "auto", {UNASSIGNED},
    )


@pytest.mark.parametrize("token", ["", "soci_", "soci_x", "soci_" + "A" * 1_000_000, "\x00", "soci_\ud800", "' OR 1=1 --"])
def test_wrong_tokens_find_nothing(sources, token):
    sources.create("x", now=1)
    assert sources.by_token(token) is None
    assert sources.by_token(Secret(token)) is None


def test_rotation_ends_the_old_token_at_once_here_and_within_a_second_elsewhere(sources, state_db):
    now = [0.0]
    elsewhere = SourceStore(state_db, clock=lambda: now[0])
    _, old = sources.create("x", now=1)
    assert elsewhere.by_token(old).id == sources.by_token(old).id == "x"
    new = sources.rotate("x", EVERYTHING, now=2)
    assert (sources.by_token(old), sources.by_token(new).rotated) == (None, 2)
    now[0] = 1.0
    assert (elsewhere.by_token(old), elsewhere.by_token(new).id) == (None, "x")


def test_a_disabled_source_sends_nothing_more_until_enabled(sources):
    _, token = sources.create("fw", now=1, kind="syslog", addresses=["10.0.0.1"])
    sources.disable("fw", EVERYTHING, now=2)
    assert (sources.by_token(token), sources.by_address("10.0.0.1")) == (None, None)
    assert [source.enabled for source in sources.list(EVERYTHING)] == [False]
    sources.enable("fw", EVERYTHING)
    assert sources.by_token(token).id == sources.by_address("10.0.0.1").id == "fw"


def test_the_narrowest_network_decides(sources):
    sources.create("wide", now=1, kind="syslog", addresses=["10.0.0.0/8"])
    sources.create("narrow", now=1, kind="syslog", addresses=["10.1.2.0/24", "2001:db8::/32"])
    sources.create("host", now=1, kind="syslog", addresses=["10.1.2.3"])
    found = {address: sources.by_address(address) for address in (
        "10.9.9.9", "10.1.2.9", "10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "2001:db8::1%eth0", "192.0.2.1", "nonsense", "",
    )}
    assert {address: source.id if source else None for address, source in found.items()} == {
        "10.9.9.9": "wide", "10.1.2.9": "narrow", "10.1.2.3": "host", "::ffff:10.1.2.3": "host", "2001:db8::1": "narrow",
        "2001:db8::1%eth0": "narrow", "192.0.2.1": None, "nonsense": None, "": None,
    }


def test_an_address_belongs_to_one_syslog_source(sources):
    sources.create("a", now=1, kind="syslog", addresses=["10.0.0.1"])
    with pytest.raises(DuplicateError, match=r"10\.0\.0\.1"):
        sources.create("b", now=1, kind="syslog", addresses=["10.0.0.1/32"])
    sources.disable("a", EVERYTHING, now=2)
    sources.create("b", now=3, kind="syslog", addresses=["10.0.0.1"])
    with pytest.raises(DuplicateError):
        sources.enable("a", EVERYTHING)


def test_a_token_may_be_bound_to_addresses(sources):
    made, _ = sources.create("x", now=1, addresses=["10.0.0.0/24"])
    assert [made.takes_from(address) for address in ("10.0.0.9", "10.0.1.9", "")] == [True, False, False]
    assert sources.get("x", EVERYTHING).takes_from("10.0.0.1")
    assert sources.create("y", now=1)[0].takes_from("203.0.113.9")
    assert sources.by_address("10.0.0.9") is None, "only syslog goes by address alone"


@pytest.mark.parametrize("given", [
    {"source": "Has Space"}, {"source": "../x"}, {"kind": "udp"}, {"kind": "syslog"}, {"addresses": ["10.0.0.1.2"]},
    {"timezone": "Nowhere/X"}, {"timezone": "../../etc/passwd"}, {"timezone": ""}, {"agency": "Sở"},
    {"agencies": ["a b"]}, {"year": 1}, {"name": "a\nb"},
    {"format": ""}, {"retention": "a/b"},
])
def test_what_makes_no_sense_is_refused_with_a_reason(sources, given):
    with pytest.raises(InputRefused):
        sources.create(**({"source": "x", "now": 1} | given))
    assert sources.list(EVERYTHING) == []


def test_an_id_is_taken_once(sources):
    sources.create("x", now=1)
    with pytest.raises(DuplicateError, match="x"):
        sources.create("x", now=2)


def test_scopes_bound_every_method(sources):
    _, token = sources.create("mine", now=1, agency="so-tc")
    sources.create("theirs", now=1, agency="so-yt")
    inside, outside = Scope.of(["so-tc"]), Scope.of(["so-yt"])
    assert [source.id for source in sources.list(inside)] == ["mine"]
    assert sources.list(Scope.of([])) == []
    for forbidden in (
        lambda: sources.get("mine", outside), lambda: sources.rotate("mine", outside, now=2),
        lambda: sources.disable("mine", outside, now=2), lambda: sources.enable("mine", outside),
        lambda: sources.get("none", EVERYTHING),
    ):
        with pytest.raises(NotFoundError):
            forbidden()
    assert sources.by_token(token).id == "mine"


def test_lists_filter_and_bound(sources):
    for n in range(5):
        sources.create(f"s{n}", now=1, agency="so-tc" if n % 2 else "so-yt")
    assert [source.id for source in sources.list(EVERYTHING, agency="so-tc")] == ["s1", "s3"]
    assert len(sources.list(EVERYTHING, limit=2)) == 2
    assert sources.list(EVERYTHING, kind="syslog") == []


def test_the_rules_of_a_relay_are_kept_in_their_order_and_only_for_syslog(sources):
    rules = [RelayRule("edu", host="*.EDU.vn"), RelayRule("health", address="10.1.2.3")]
    sources.create("relay", now=1, kind="syslog", addresses=["10.0.0.1"])
    kept = sources.split("relay", EVERYTHING, rules, now=2, by="an")
    assert kept.relay == (RelayRule("edu", host="*.edu.vn"), RelayRule("health", address="10.1.2.3/32"))
    assert sources.by_address("10.0.0.1") == kept == sources.get("relay", EVERYTHING)
    assert sources.split("relay", EVERYTHING, [], now=3, by="an").relay == ()
    sources.create("web", now=1)
    with pytest.raises(InputRefused, match="no syslog source"):
        sources.split("web", EVERYTHING, rules, now=4, by="an")
    with pytest.raises(NotFoundError):
        sources.split("relay", Scope(agencies=frozenset({"edu"})), rules, now=5, by="an")


def test_a_relays_rules_have_versions_and_who_comes_second_is_told(sources):
    one, two = [RelayRule("edu", host="a")], [RelayRule("edu", host="b")]
    sources.create("relay", now=1, kind="syslog", addresses=["10.0.0.1"])
    assert (sources.get("relay", EVERYTHING).relay_version, sources.relay_edits("relay", EVERYTHING)) == (0, [])
    assert sources.split("relay", EVERYTHING, one, now=2, by="an", version=0).relay_version == 1
    with pytest.raises(ChangedError, match="at version 1, not 0"):
        sources.split("relay", EVERYTHING, two, now=3, by="binh", version=0)
    assert sources.get("relay", EVERYTHING).relay == tuple(one)
    assert sources.split("relay", EVERYTHING, two, now=3, by="binh").relay_version == 2
    edits = sources.relay_edits("relay", EVERYTHING)
    assert [(edit.version, edit.rules, edit.at, edit.by) for edit in edits] == [(2, tuple(two), 3, "binh"), (1, tuple(one), 2, "an"), (0, (), 1, "")]
    assert sources.relay_edit("relay", EVERYTHING, 1) == edits[1]
    for version in range(2, 60):
        sources.split("relay", EVERYTHING, one, now=4, by="an", version=version)
    assert [edit.version for edit in sources.relay_edits("relay", EVERYTHING)] == list(range(60, 10, -1))
    with pytest.raises(NotFoundError, match="version 1 of the rules"):
        sources.relay_edit("relay", EVERYTHING, 1)
    with pytest.raises(NotFoundError):
        sources.relay_edits("relay", Scope(agencies=frozenset({"edu"})))
