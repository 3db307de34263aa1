"""Logins, sessions, tokens and set-up on both dialects (F58-F60, F64)."""
from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from soc.access import passwords
from soc.access.agencies import AgencyStore
from soc.access.audit import Audit
from soc.access.authentication import Authentication, LoginRefused
from soc.access.roles import ROLES, Permission, Role
from soc.access.sessions import ABSOLUTE, IDLE, csrf_of
from soc.access.setup import LIFETIME, Chosen, Setup
from soc.errors import DuplicateError, InputRefused, NotFoundError, PermissionDenied
from soc.event import UNASSIGNED, Scope
from soc.secret import Secret

SECOND = 1_000_000
RIGHT, WRONG = Secret("ba con voi vàng"), Secret("không phải đâu")
HERE, THERE = "10.0.0.1", "192.0.2.7"


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch):
    """The parameters are checked apart; here only the behaviour is."""
    from argon2 import PasswordHasher
    quick = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", quick)
    monkeypatch.setattr(passwords, "_NOBODY", quick.hash("nobody at all"))


@pytest.fixture
def centre(access_db):
    agencies = AgencyStore(access_db)
    for agency, parent in (("tinh", None), ("so-yt", "tinh"), ("bv-1", "so-yt"), ("so-tc", "tinh")):
        agencies.add(agency, agency, parent=parent, actor="test", now=1)
    doors = Authentication(access_db)
    doors.users.add("quản-trị", RIGHT, [Role.ADMINISTRATOR], actor="test", now=1)
    doors.users.add("an", RIGHT, [Role.ANALYST], actor="test", now=1)
    doors.users.add("vy", RIGHT, [Role.VIEWER], ["so-yt"], actor="test", now=1)
    return doors


def login(centre, name="an", password=RIGHT, source=HERE, now=SECOND):
    return centre.login(name, password, source=source, now=now)


def principal(centre, token, now=SECOND):
    found = centre.by_session(token, now=now)
    return found[0] if found else None


def test_a_login_gives_a_session_that_names_its_person(centre):
    who = principal(centre, login(centre))
    assert (who.name, who.roles, who.via) == ("an", (Role.ANALYST,), "session")
    assert who.permissions == ROLES[Role.ANALYST]


def test_names_match_without_case_and_unicode_form(centre):
    assert principal(centre, login(centre, name="QUẢN-TRỊ")).name == "quản-trị"
    assert principal(centre, login(centre, name="qua\u0309n-tri\u0323")).name == "quản-trị"
    with pytest.raises(DuplicateError):
        centre.users.add("AN", RIGHT, [Role.ANALYST], actor="test", now=1)


def test_scopes_follow_role_and_tree(centre, access_db):
    assert principal(centre, login(centre, "quản-trị")).scope == Scope.everything()
    assert principal(centre, login(centre, "an")).scope == Scope.of(["tinh", "so-yt", "bv-1", "so-tc"])
    token = login(centre, "vy")
    assert principal(centre, token).scope == Scope.of(["so-yt", "bv-1"])
    AgencyStore(access_db).move("bv-1", "so-tc", actor="test", now=2 * SECOND)
    assert principal(centre, token, now=3 * SECOND).scope == Scope.of(["so-yt"])
    assert not principal(centre, login(centre, "an")).scope.allows(UNASSIGNED)


def test_unknown_wrong_and_disabled_get_one_answer(centre):
    vy = centre.users.by_name("vy")
    centre.users.set_enabled(vy.id, False, actor="test", now=1)
    answers = set()
    for name, password in (
        ("nobody", RIGHT), ("an", WRONG), ("vy", RIGHT), ("", RIGHT), ("an\x00", RIGHT), ("x" * 10_000, WRONG), ("\ud800", WRONG),
        ("an", Secret("x" * 100_000)), ("an", Secret("\ud800\x00")), ("an", Secret("")),
    ):
        with pytest.raises(LoginRefused) as caught:
            login(centre, name, password)
        answers.add((str(caught.value), caught.value.retry_after))
    assert answers == {("the name or the password is wrong", 0)}


def test_every_refusal_costs_one_hash(centre, monkeypatch):
    vy = centre.users.by_name("vy")
    centre.users.set_enabled(vy.id, False, actor="test", now=1)
    checked = []
    verify = passwords._HASHER.verify

    class Counting:
        def verify(self, kept, password):
            checked.append(kept)
            return verify(kept, password)

    monkeypatch.setattr(passwords, "_HASHER", Counting())
    for name in ("nobody", "an", "vy"):
        with pytest.raises(LoginRefused):
            login(centre, name, WRONG)
    assert len(checked) == 3


def test_guessing_is_slowed_and_the_owner_elsewhere_is_not(centre):
    now = SECOND
    for _ in range(6):
        with pytest.raises(LoginRefused) as caught:
            login(centre, password=WRONG, source=THERE, now=now)
        assert caught.value.retry_after == 0
    with pytest.raises(LoginRefused) as caught:
        login(centre, source=THERE, now=now)
    assert caught.value.retry_after == 1, "even the right password waits"
    assert principal(centre, login(centre, source=HERE, now=now), now)
    login(centre, source=THERE, now=now + SECOND)


def test_the_delay_doubles_up_to_a_quarter_of_an_hour(centre):
    now, waits = SECOND, []
    for _ in range(25):
        try:
            login(centre, password=WRONG, source=THERE, now=now)
        except LoginRefused as refused:
            if refused.retry_after:
                waits.append(refused.retry_after)
                now += refused.retry_after * SECOND
    assert waits[:5] == [1, 2, 4, 8, 16]
    assert max(waits) <= 900


def test_an_unknown_name_is_slowed_just_like_a_known_one(centre):
    answers = {}
    for name in ("an", "nobody"):
        source = f"198.51.100.{len(answers)}"
        answers[name] = []
        for _ in range(8):
            with pytest.raises(LoginRefused) as caught:
                login(centre, name, WRONG, source=source)
            answers[name].append((str(caught.value), caught.value.retry_after))
    assert answers["an"] == answers["nobody"]


def test_one_source_trying_many_names_is_slowed(centre):
    refused = []
    for n in range(30):
        with pytest.raises(LoginRefused) as caught:
            login(centre, f"user{n}", WRONG, source=f"2001:db8::{n:x}")
        refused.append(caught.value.retry_after)
    assert refused[:20] == [0] * 20
    assert refused[-1] > 0, "a /64 is one source"


def test_many_sources_against_one_account_delay_its_owner_by_seconds_only(centre):
    now, longest = SECOND, 0
    for n in range(120):
        try:
            login(centre, password=WRONG, source=f"10.1.{n}.1", now=now)
        except LoginRefused as refused:
            longest = max(longest, refused.retry_after)
            now += refused.retry_after * SECOND
    assert 0 < longest <= 5
    now += 5 * SECOND
    assert login(centre, now=now)


def test_parallel_guesses_are_no_cheaper(centre):
    tried = []

    def guess() -> None:
        try:
            login(centre, password=WRONG, source=THERE)
        except LoginRefused as refused:
            tried.append(refused.retry_after)

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(tried), tried.count(0)) == (12, 6)


def test_sessions_end_when_idle_and_in_any_case(centre):
    token = login(centre)
    assert principal(centre, token, SECOND + IDLE - 1)
    assert principal(centre, token, SECOND + 2 * IDLE - 40 * SECOND)
    assert principal(centre, token, SECOND + 4 * IDLE) is None
    assert principal(centre, token, SECOND + 2 * IDLE) is None, "an ended session stays ended"
    token, now = login(centre), SECOND
    while now < SECOND + ABSOLUTE:
        assert principal(centre, token, now)
        now += IDLE // 2
    assert principal(centre, token, SECOND + ABSOLUTE) is None


def test_a_login_always_gets_a_fresh_token_and_ends_the_one_before(centre):
    first = login(centre)
    second = centre.login("an", RIGHT, source=HERE, now=SECOND, old_session=first)
    assert first != second
    assert principal(centre, first) is None
    assert principal(centre, Secret("chosen-by-someone-else")) is None


def test_only_hashes_of_tokens_are_kept(centre, access_db):
    session = login(centre)
    user = centre.users.by_name("an").id
    _, api = centre.tokens.create(user, "x", [Permission.EVENTS_READ], expires=10 * SECOND, actor="test", now=1)
    with access_db.read() as connection:
        kept = "".join(str(connection.execute(text(f"SELECT * FROM {table}")).all()) for table in (
            "users", "sessions", "api_tokens", "audit", "login_attempts",
        ))
    for secret in (session, api, RIGHT):
        assert secret.reveal() not in kept
        assert secret.reveal() not in f"{secret} {secret!r}"


def test_a_password_change_ends_all_other_sessions_and_renews_ones_own(centre):
    mine, other = login(centre), login(centre, source=THERE)
    with pytest.raises(LoginRefused):
        centre.change_password(mine, WRONG, Secret("một câu khác hẳn"), source=HERE, now=SECOND)
    with pytest.raises(InputRefused):
        centre.change_password(mine, RIGHT, Secret("ngắn"), source=HERE, now=SECOND)
    fresh = centre.change_password(mine, RIGHT, Secret("một câu khác hẳn"), source=HERE, now=SECOND)
    assert principal(centre, fresh).name == "an"
    assert [principal(centre, token) for token in (mine, other)] == [None, None]
    with pytest.raises(LoginRefused):
        login(centre)
    assert login(centre, password=Secret("một câu khác hẳn"))


@pytest.mark.parametrize("change", ["logout", "roles", "disable", "password", "revoke", "rotate"])
def test_old_tokens_are_worthless_after(centre, change):
    user = centre.users.by_name("an").id
    token = login(centre)
    match change:
        case "logout":
            centre.logout(token, now=SECOND)
        case "roles":
            centre.users.set_roles(user, [Role.VIEWER], ["so-tc"], actor="test", now=SECOND)
        case "disable":
            centre.users.set_enabled(user, False, actor="test", now=SECOND)
        case "password":
            centre.users.set_password(user, Secret("hoàn toàn khác nhau"), actor="test", now=SECOND)
        case "revoke":
            assert centre.sessions.revoke(user) == 1
        case "rotate":
            assert principal(centre, centre.sessions.rotate(token, now=SECOND))
    assert principal(centre, token) is None
    assert centre.sessions.rotate(token, now=SECOND) is None


def test_each_session_has_its_own_csrf_token(centre):
    first, second = login(centre), login(centre)
    assert csrf_of(first) == csrf_of(first) != csrf_of(second)
    assert first.reveal() not in csrf_of(first)


def test_api_tokens_carry_no_more_than_owner_and_scopes_allow(centre):
    user = centre.users.by_name("vy").id
    scopes = [Permission.EVENTS_READ, Permission.USERS_WRITE]
    _, token = centre.tokens.create(user, "grafana", scopes, expires=100 * SECOND, actor="test", now=1)
    assert token.reveal().startswith("soc_")
    who = centre.by_api_token(token, now=SECOND)
    assert (who.permissions, who.scope) == ({Permission.EVENTS_READ}, Scope.of(["so-yt", "bv-1"]))
    with pytest.raises(PermissionDenied):
        who.require(Permission.USERS_WRITE)


def test_api_tokens_end(centre):
    user = centre.users.by_name("an").id

    def make():
        return centre.tokens.create(user, "x", [Permission.EVENTS_READ], expires=10 * SECOND, actor="test", now=1)

    (made, token), (_, other) = make(), make()
    assert centre.by_api_token(token, now=10 * SECOND) is None
    assert centre.by_api_token(token, now=9 * SECOND)
    with pytest.raises(NotFoundError):
        centre.tokens.revoke(made.id, user="u_other", actor="test", now=2)
    centre.tokens.revoke(made.id, actor="test", now=2)
    assert centre.by_api_token(token, now=SECOND) is None
    assert centre.by_api_token(other, now=SECOND)
    centre.users.set_enabled(user, False, actor="test", now=2)
    assert centre.by_api_token(other, now=SECOND) is None
    assert [each.revoked is None for each in centre.tokens.list(user)].count(True) == 1
    for hostile in ("soc_", "soc_" + "A" * 100_000, "", "soc_\x00\ud800"):
        assert centre.by_api_token(Secret(hostile), now=SECOND) is None


def test_the_last_administrator_stays(centre):
    user = centre.users.by_name("quản-trị").id
    with pytest.raises(InputRefused, match="last administrator"):
        centre.users.set_enabled(user, False, actor="test", now=1)
    with pytest.raises(InputRefused, match="last administrator"):
        centre.users.set_roles(user, [Role.ANALYST], actor="test", now=1)
    assert centre.users.get(user).enabled


@pytest.mark.parametrize("name", ["", " an", "a\r\nSet-Cookie: x", "\u202ean", "x" * 65, "a\x00"])
def test_names_that_could_forge_a_line_are_refused(centre, name):
    with pytest.raises(InputRefused):
        centre.users.add(name, RIGHT, [Role.ANALYST], actor="test", now=1)


def test_users_have_known_agencies_and_a_role(centre):
    with pytest.raises(NotFoundError, match="nowhere"):
        centre.users.add("new", RIGHT, [Role.VIEWER], ["nowhere"], actor="test", now=1)
    with pytest.raises(InputRefused, match="unassigned"):
        centre.users.add("new", RIGHT, [Role.VIEWER], [UNASSIGNED], actor="test", now=1)
    with pytest.raises(InputRefused, match="role"):
        centre.users.add("new", RIGHT, [], actor="test", now=1)


def test_user_lists_show_no_more_than_the_scope(centre):
    assert [user.name for user in centre.users.list(Scope.everything())] == ["an", "quản-trị", "vy"]
    assert [user.name for user in centre.users.list(Scope.of(["so-yt", "bv-1"]))] == ["vy"]
    assert centre.users.list(Scope.of([])) == []


def test_logins_and_refusals_are_audited_without_passwords(centre, access_db):
    login(centre)
    with pytest.raises(LoginRefused):
        login(centre, "an\r\nroot", WRONG)
    refused, good = Audit(access_db).list(limit=2)
    assert (refused.action, refused.detail) == ("login.refused", {"name": "an\\u000d\\u000aroot", "source": HERE})
    assert (good.action, good.detail) == ("login", {"source": HERE})


def test_set_up_works_once_and_only_while_there_is_nobody(access_db):
    setup = Setup(access_db)
    first = setup.issue(now=SECOND)
    second = setup.issue(now=SECOND)
    with pytest.raises(PermissionDenied):
        setup.redeem(first, "root", RIGHT, now=SECOND)
    with pytest.raises(InputRefused):
        setup.redeem(second, "root", Secret("short"), now=SECOND)
    with pytest.raises(PermissionDenied):
        setup.redeem(second, "root", RIGHT, now=SECOND + LIFETIME)
    assert setup.needed()
    user = setup.redeem(second, "root", RIGHT, now=2 * SECOND)
    assert user.roles == (Role.ADMINISTRATOR,)
    assert not setup.needed()
    for token in (first, second):
        with pytest.raises(PermissionDenied):
            setup.redeem(token, "again", RIGHT, now=2 * SECOND)
    assert setup.issue(now=3 * SECOND) is None
    assert principal(Authentication(access_db), login(Authentication(access_db), "root"))


def test_what_was_chosen_at_set_up_is_kept_with_the_first_administrator_or_not_at_all(access_db):
    setup = Setup(access_db)
    token = setup.issue(now=SECOND)
    assert setup.chosen() == Chosen()
    for wrong in ("\x1b[31m", "x" * 65):
        with pytest.raises(InputRefused):
            setup.redeem(token, "root", RIGHT, now=SECOND, chosen=Chosen(wrong, "en"))
    with pytest.raises(InputRefused):  # a password is not made of the centre's name
        setup.redeem(token, "root", Secret("Tỉnh Sao Mai 1"), now=SECOND, chosen=Chosen("Tỉnh Sao Mai", "en"))
    assert setup.chosen() == Chosen()
    setup.redeem(token, "root", RIGHT, now=SECOND, chosen=Chosen("Tỉnh Sao Mai", "en"))
    assert setup.chosen() == Setup(access_db).chosen() == Chosen("Tỉnh Sao Mai", "en")


def test_two_that_race_for_the_set_up_make_one_administrator(access_db):
    setup = Setup(access_db)
    token = setup.issue(now=SECOND)
    outcomes = []

    def redeem(name: str) -> None:
        try:
            outcomes.append(setup.redeem(token, name, RIGHT, now=SECOND).name)
        except PermissionDenied:
            outcomes.append(None)

    threads = [threading.Thread(target=redeem, args=(f"user{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(None) == 3


def test_a_used_token_stays_used_when_the_user_is_gone(access_db):
    setup = Setup(access_db)
    token = setup.issue(now=SECOND)
    setup.redeem(token, "root", RIGHT, now=SECOND)
    with access_db.write() as connection:
        connection.execute(text("DELETE FROM users"))
    assert not setup.valid(token, now=SECOND)
