"""Passwords, credentials and roles: the parts that need no database."""
from __future__ import annotations

import re
import statistics
import time

import pytest
from argon2 import Parameters, Type, extract_parameters

from soc.access.credentials import digest_of, new_credential
from soc.access.passwords import check_password, hash_password, needs_rehash, verify_password
from soc.access.principal import Principal
from soc.access.roles import ROLES, Permission, Role, permissions_of
from soc.errors import InputRefused, PermissionDenied
from soc.event import Scope
from soc.secret import Secret

PASSWORD = Secret("con ngựa đúng cái ghim")


def test_hashes_are_argon2id_of_19_mib_and_two_passes():
    kept = hash_password(PASSWORD)
    assert extract_parameters(kept) == Parameters(
        type=Type.ID, version=19, salt_len=16, hash_len=32, time_cost=2, memory_cost=19_456, parallelism=1,
    )
    assert verify_password(kept, PASSWORD)
    assert not verify_password(kept, Secret("con ngựa đúng cái ghìm"))
    assert kept != hash_password(PASSWORD)


def test_hashes_of_other_parameters_are_renewed():
    assert not needs_rehash(hash_password(PASSWORD))
    assert needs_rehash("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$WDyus6py50bVFIPkjA28lQ")


def test_an_unknown_account_takes_as_long_as_a_known_one():
    kept = hash_password(PASSWORD)

    def cost(of: str | None) -> float:
        taken = []
        for _ in range(7):
            started = time.perf_counter()
            assert not verify_password(of, Secret("wrong password"))
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)

    assert 0.3 < cost(None) / cost(kept) < 3


@pytest.mark.parametrize("password", ["", "short", "a" * 12, "ab" * 10, "x1y2" * 257, "Administrator",
                                      "Password1234", "P@ssw0rd@2026", "mật khẩu 123456", "Matkhau@12345", "123456789012", "qwertyuiop12", "1q2w3e4r5t6y",
                                      "administrator!!", "Sở Tài chính 2026", "SoTaiChinh@2026", "Hanoi@123456789", "abcabcabcabcabc",
                                      "zyxwvutsrqponm", "Welcome2026!!!", "QuanTri@VietNam", "1qaz2wsx3edc", "passwordpassword"])
def test_weak_and_endless_passwords_are_refused(password):
    with pytest.raises(InputRefused):
        check_password(Secret(password), names=["administrator", "Sở Tài chính"])


@pytest.mark.parametrize("password", ["ba con voi vàng", "Mat khau rat dai 2026", "soc trên núi cao",
                                      "correct horse battery", "hVx2-99bL0q!", "tắc kè ăn mật 12", "Tr0ub4dor&3xyz", "🐎🔋📎✅" * 3, "    a  b  c d  "])
def test_long_enough_passwords_of_any_kind_are_taken(password):
    check_password(Secret(password), names=["an", "SOC"])


def test_damaged_hashes_let_nobody_in():
    for kept in ("", "$argon2id$", "plain", "!"):
        assert not verify_password(kept, PASSWORD)


def test_credentials_are_256_random_bits_behind_their_prefix():
    made = {new_credential("soc_").reveal() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch("soc_[A-Za-z0-9_-]{43}", text) for text in made)
    assert digest_of("x" * 1000) == ""
    assert len(digest_of("\ud800")) == 64


def test_only_administrators_administer():
    assert ROLES[Role.ADMINISTRATOR] == frozenset(Permission)
    for role in (Role.ANALYST, Role.VIEWER):
        for noun in ("users", "agencies", "sources", "rules", "imports", "deadletters", "store"):
            assert Permission(f"{noun}.write") not in ROLES[role]
        assert {Permission.USERS_READ, Permission.AUDIT_READ}.isdisjoint(ROLES[role])
    assert Permission.ALERTS_WRITE not in ROLES[Role.VIEWER]
    assert permissions_of([]) == frozenset()
    assert permissions_of([Role.VIEWER, Role.ANALYST]) == ROLES[Role.ANALYST]


def test_roles_cannot_be_changed_at_run_time():
    with pytest.raises(TypeError):
        ROLES[Role.VIEWER] = frozenset(Permission)  # type: ignore[index]


def test_a_principal_is_held_to_its_permissions():
    viewer = Principal("u_1", "vy", (Role.VIEWER,), ROLES[Role.VIEWER], Scope.of(["so-yt"]), "token", "t_1")
    viewer.require(Permission.EVENTS_READ)
    with pytest.raises(PermissionDenied, match=r"alerts\.write"):
        viewer.require(Permission.ALERTS_WRITE)
    assert viewer.actor == "u_1 vy via t_1"
    assert Principal.local("local:root").actor == "local:root"


def test_secrets_do_not_show_or_travel():
    import json
    import pickle

    secret = Secret("hunter2hunter2")
    assert "hunter" not in f"{secret} {secret!r} {[secret]}"
    assert secret == Secret("hunter2hunter2") != Secret("other")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps({"x": secret})
