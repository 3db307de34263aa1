"""What of a password a guesser tries first: names, common words, years, rows of keys, repetitions (NIST SP 800-63B, 3.1.1.2).

The words are few and general on purpose; a password of twelve characters or more is guessed from such pieces or not at all.
"""
from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["effective_length"]

_WORDS = (
    "pass ?word", "pass ?wd", "passphrase", "mat ?khau", "administrator", "admin", "quan ?tri(?: ?vien)?", "root", "user", "nguoi ?dung", "guest",
    "khach", "login", "dang ?nhap", "welcome", "xin ?chao", "hello", "let ?me ?in", "secret", "bi ?mat", "change ?me", "default", "mac ?dinh",
    "test", "demo", "example", "soc", "siem", "security", "an ?ninh", "an ?toan", "bao ?mat", "server", "may ?chu", "system", "he ?thong",
    "manager", "quan ?ly", "analyst", "viewer", "operator", "van ?hanh", "viet ?nam", "ha ?noi", "sai ?gon", "da ?nang", "ho ?chi ?minh",
    "i ?love ?you", "(?:anh|em) ?yeu ?(?:anh|em)", "spring", "summer", "autumn", "winter", "monday", "friday", "january", "december",
    "super ?man", "bat ?man", "dragon", "monkey", "football", "bong ?da", "sunshine", "princess", "master", "computer", "may ?tinh", "internet",
)
_ROWS = ("01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "abcdefghijklmnopqrstuvwxyz", "1qaz2wsx3edc4rfv5tgb6yhn7ujm", "1q2w3e4r5t6y7u8i9o0p",
         "!@#$%^&*()")
_ROW_LENGTH = 4
"""Characters in a row that count as one."""
_LOOKALIKES = str.maketrans("@4301!5$7", "aaeoiisst")
_YEAR, _AGAIN = r"(?:19|20)\d\d", r"(.{1,3}?)\1{2,}"


def effective_length(text: str, names: Iterable[str] = ()) -> int:
    """The length of a password in which every guessable piece counts as one character. `names` are guessed, too: the user's, the centre's."""
    plain = _plain(text)
    known = [re.escape(_plain(name)).replace(r"\ ", " ?") for name in names if len(name) > 2]
    words = re.compile("|".join(sorted((*known, *_WORDS), key=len, reverse=True)))
    rows = re.compile("|".join(re.escape(piece) for piece in _pieces()))
    return min(_left(spelled, words, rows) for spelled in (plain, plain.translate(_LOOKALIKES)))


def _left(text: str, words: re.Pattern[str], rows: re.Pattern[str]) -> int:
    for pattern in (words, _YEAR, rows, _AGAIN):
        text = re.sub(pattern, "\0", text)
    return len(text)


def _pieces() -> list[str]:
    """Every stretch of a row, either way, the longest first."""
    found = {way[start:end] for row in _ROWS for way in (row, row[::-1]) for start in range(len(row))
             for end in range(start + _ROW_LENGTH, len(row) + 1)}
    return sorted(found, key=lambda piece: (-len(piece), piece))


def _plain(text: str) -> str:
    """Lower case without accents."""
    spread = unicodedata.normalize("NFD", text.casefold().replace("đ", "d"))
    return "".join(c for c in spread if not unicodedata.combining(c))
