"""Passwords: Argon2id at OWASP's modest setting (19 MiB, two passes), and what may be one.

Hashing is bounded to two at a time, so a flood of logins cannot take the machine's memory.
"""
from __future__ import annotations

import threading
from collections.abc import Collection

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from soc.access.guessable import effective_length
from soc.errors import InputRefused
from soc.secret import Secret

__all__ = ["MINIMUM", "check_password", "hash_password", "needs_rehash", "verify_password"]

MINIMUM = 12
"""The fewest characters of a password (NIST SP 800-63B asks for length, not for kinds of characters)."""

_LONGEST = 1024
_LEFT = 8
"""The fewest characters that a password has to have when each guessable piece counts as one."""
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, hash_len=32, salt_len=16, type=Type.ID)
_SLOTS = threading.BoundedSemaphore(2)
# A hash nobody knows the password of: checked for unknown accounts, so that they cost the same time as known ones.
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$c29jLW5vYm9keS1zYWx0IQ$3b0c9Qy1mD4v7rWkq0E2l8nTzYxUoJHsaGfPpVdCbXI"


def check_password(password: Secret, *, names: Collection[str] = ()) -> None:
    """Raises InputRefused for a password that is too short, too long or made of what is guessed first, `names` (account, centre) among it."""
    text = password.reveal()
    if len(text) < MINIMUM:
        raise InputRefused(f"the password is too short: at least {MINIMUM} characters")
    if len(text.encode("utf-8", "surrogatepass")) > _LONGEST:
        raise InputRefused(f"the password is too long: at most {_LONGEST} bytes")
    if len(set(text)) < 4 or text.casefold() in map(str.casefold, names) or effective_length(text, names) < _LEFT:
        raise InputRefused(
            "the password is too easy to guess: names, common words, years, rows of keys and repetitions are tried first",
            remedy="a sentence of four words is a good one")


def hash_password(password: Secret) -> str:
    """The Argon2id hash to keep."""
    with _SLOTS:
        return _HASHER.hash(_bytes(password))


def verify_password(kept: str | None, password: Secret) -> bool:
    """Whether the password is the one of the hash. None (no such account) takes as long and is always False."""
    if len(_bytes(password)) > _LONGEST:
        password = Secret("")
    with _SLOTS:
        try:
            right = _HASHER.verify(kept or _NOBODY, _bytes(password))
        except (VerificationError, InvalidHashError):
            return False
    return right and kept is not None


def needs_rehash(kept: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(kept)


def _bytes(password: Secret) -> bytes:
    return password.reveal().encode("utf-8", "surrogatepass")
