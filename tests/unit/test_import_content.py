"""How a content is measured: once, against every earlier file that may be its head."""
from __future__ import annotations

import hashlib
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from soc.ingest.content import measure


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(1, 300_000), max_size=6), st.integers(0, 9000))
def test_prefixes_are_hashed_where_they_end(start: bytes, lengths: list[int], repeat: int) -> None:
    content = start * (1 + repeat // 100)
    found = measure(io.BytesIO(content), lambda _: lengths)
    assert (found.sha256, found.size) == (digest(content), len(content))
    assert found.prefixes == {length: digest(content[:length]) for length in lengths if length <= len(content) and content}


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=9000), st.integers(1, 9000))
def test_every_head_is_found_again(content: bytes, length: int) -> None:
    head = measure(io.BytesIO(content[:length]), lambda _: ())
    assert head.head in measure(io.BytesIO(content), lambda _: ()).heads


def test_empty_content_has_no_head() -> None:
    found = measure(io.BytesIO(b""), lambda _: (1, 2))
    assert (found.size, found.head, found.prefixes) == (0, "", {})
