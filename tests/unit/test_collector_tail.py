"""Following a file: each whole line once, wherever the follower was stopped and whatever logrotate did."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.tail import LONGEST, Place, Tail


def everything(tail: Tail) -> list[bytes]:
    """All that there is to read now; the tail goes on where it is when it reads again."""
    found: list[bytes] = []
    while came := tail.read(2):
        found += came
    return found


@pytest.fixture
def follow() -> Iterator[Callable[..., Tail]]:
    """Makes tails that are closed at the end."""
    made: list[Tail] = []

    def make(*given: Any) -> Tail:
        made.append(Tail(*given))
        return made[-1]

    yield make
    for each in made:
        each.close()


def add(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


def test_it_begins_at_the_end_of_the_last_whole_line(follow: Callable[..., Tail], tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    add(log, b"old\nhal")
    tail = follow(log)
    assert everything(tail) == []
    add(log, b"f\r\nnew\n\n")
    assert everything(tail) == [b"half", b"new"]


def test_a_file_that_comes_later_is_read_from_its_start(follow: Callable[..., Tail], tmp_path: Path) -> None:
    tail = follow(tmp_path / "a.log")
    assert everything(tail) == []
    add(tmp_path / "a.log", b"one\n")
    assert everything(tail) == [b"one"]


def test_rotation_loses_and_doubles_nothing(follow: Callable[..., Tail], tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    add(log, b"")
    tail = follow(log)
    add(log, b"one\ntwo\nthree without an end")
    log.rename(tmp_path / "a.log.1")
    add(log, b"four\n")
    assert everything(tail) == [b"one", b"two", b"three without an end", b"four"]


@pytest.mark.parametrize("read_before", [True, False])
def test_rotation_while_nobody_follows(follow: Callable[..., Tail], tmp_path: Path, read_before: bool) -> None:
    log = tmp_path / "a.log"
    add(log, b"")
    tail = follow(log)
    add(log, b"one\n")
    before = everything(tail) if read_before else []
    place = tail.place
    tail.close()
    add(log, b"two\n")
    log.rename(tmp_path / "a.log.1")
    add(log, b"three\n")
    assert before + everything(follow(log, place)) == [b"one", b"two", b"three"]


def test_a_file_that_was_emptied_is_read_anew(follow: Callable[..., Tail], tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    add(log, b"something longer\n")
    tail = follow(log)
    os.truncate(log, 0)
    add(log, b"new\n")
    assert everything(tail) == [b"new"]


def test_F20_a_file_that_was_emptied_and_has_grown_past_the_old_place_is_read_anew_once(follow: Callable[..., Tail], tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    add(log, b"")
    tail = follow(log)
    add(log, b"one\ntwo\n")
    assert everything(tail) == [b"one", b"two"]
    with log.open("r+b") as file:
        file.truncate()
        file.write(b"three, which is longer\nfour\n")
    assert everything(tail) == [b"three, which is longer", b"four"]
    assert everything(tail) == []
    assert everything(follow(log, tail.place)) == []


def test_F19_another_file_with_the_same_inode_is_another_file(follow: Callable[..., Tail], tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    add(log, b"one\ntwo\n")
    tail = follow(log)
    place = tail.place
    assert place.head
    with log.open("r+b") as file:  # what a file made anew under an inode that was given back looks like
        file.truncate()
        file.write(b"other\nlines, and more than there were\n")
    assert everything(follow(log, place)) == [b"other", b"lines, and more than there were"]
    assert everything(follow(log, Place(place.inode, place.offset))) != []  # a place of before there were digests


def test_a_line_without_an_end_comes_in_pieces(follow: Callable[..., Tail], tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    add(log, b"")
    tail = follow(log)
    add(log, b"x" * (LONGEST + 10) + b"\nnext\n")
    assert [len(each) for each in everything(tail)] == [LONGEST, 10, 4]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([b"a", b"\n", b"b\n", b"\r\n", "ạ\n".encode(), None]), max_size=40))
def test_stopping_anywhere_changes_nothing(tmp_path_factory: pytest.TempPathFactory, steps: list[bytes | None]) -> None:
    """None: the follower is stopped, and another goes on from its place."""
    log = tmp_path_factory.mktemp("tail") / "a.log"
    add(log, b"")
    tail = Tail(log)
    found: list[bytes] = []
    for step in steps:
        if step is None:
            place = tail.place
            tail.close()
            tail = Tail(log, place)
        else:
            add(log, step)
            found += everything(tail)
    tail.close()
    text = b"".join(step for step in steps if step is not None)
    assert found == [line.rstrip(b"\r") for line in text.split(b"\n")[:-1] if line.rstrip(b"\r")]
