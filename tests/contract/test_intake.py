"""What every intake promises: exact by number, told what overlaps, numbered when the sender does not, never half."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from soc.errors import InputRefused, OverlapError
from soc.event import FrameContext, Lane
from soc.ingest.batch import ASSIGN, Batch, Compression, Encoding, Intake
from soc.ingest.intake import DurableIntake
from soc.ingest.memory import MemoryIntake
from soc.store.disk import RealDisk
from soc.store.node import NodeDatabase

Opened = Callable[[], AbstractAsyncContextManager[Intake]]
CONTEXT = FrameContext(source="web", stream="web:s", first=0, count=1, read_at=1, ingested=2)


def batch(first: int, count: int, **more: object) -> Batch:
    lines = b"".join(b"%d\n" % n for n in range(count))
    return Batch(replace(CONTEXT, first=first, count=count, **more), Encoding.LINES, Compression.NONE, lines)  # type: ignore[arg-type]


@pytest.fixture(params=["memory", "durable"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens the intake; the durable one can be opened again over the same folder."""

    @asynccontextmanager
    async def open_memory() -> AsyncIterator[Intake]:
        yield MemoryIntake()

    @asynccontextmanager
    async def open_durable() -> AsyncIterator[Intake]:
        intake = DurableIntake(tmp_path, RealDisk(), NodeDatabase(tmp_path / "node.db"))
        await intake.start()
        try:
            yield intake
        finally:
            await intake.stop()

    return open_memory if request.param == "memory" else open_durable


def run(opened: Opened, check: Callable[[Intake], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        async with opened() as intake:
            await check(intake)
    asyncio.run(all_of_it())


def test_a_batch_is_taken_once_and_positions_follow_on(opened: Opened) -> None:
    async def check(intake: Intake) -> None:
        first = await intake.accept(batch(0, 3), Lane.LIVE)
        second = await intake.accept(batch(3, 2), Lane.LIVE)
        assert (first.first, first.count, first.duplicate, second.duplicate) == (0, 3, False, False)
        assert first.sequence is not None
        assert second.sequence == first.sequence + 3
        again = await intake.accept(batch(0, 3), Lane.LIVE)
        inside = await intake.accept(batch(1, 4), Lane.LIVE)
        assert (again.duplicate, again.sequence, inside.duplicate) == (True, None, True)
        assert intake.received("web:s") == [(0, 4)]
    run(opened, check)


def test_an_overlapping_batch_is_refused_with_what_is_there(opened: Opened) -> None:
    async def check(intake: Intake) -> None:
        await intake.accept(batch(10, 5), Lane.LIVE)
        with pytest.raises(OverlapError) as refused:
            await intake.accept(batch(12, 5), Lane.LIVE)
        assert refused.value.ranges == ((10, 14),)
        await intake.accept(batch(0, 10), Lane.LIVE)
        await intake.accept(batch(20, 1), Lane.LIVE)
        assert intake.received("web:s") == [(0, 14), (20, 20)]
    run(opened, check)


def test_epochs_and_streams_are_apart(opened: Opened) -> None:
    async def check(intake: Intake) -> None:
        await intake.accept(batch(0, 3), Lane.LIVE)
        assert not (await intake.accept(batch(0, 3, epoch=1), Lane.LIVE)).duplicate
        assert not (await intake.accept(batch(0, 3, stream="other"), Lane.BULK)).duplicate
        assert intake.received("web:s", 1) == [(0, 2)]
        assert intake.received("nothing") == []
    run(opened, check)


def test_records_without_numbers_get_the_next_ones(opened: Opened) -> None:
    async def check(intake: Intake) -> None:
        receipts = await asyncio.gather(*(intake.accept(batch(ASSIGN, 3), Lane.LIVE) for _ in range(5)))
        assert sorted(receipt.first for receipt in receipts) == [0, 3, 6, 9, 12]
        assert not any(receipt.duplicate for receipt in receipts)
        assert intake.received("web:s") == [(0, 14)]
    run(opened, check)


def test_the_same_batch_sent_at_once_by_two_is_taken_once(opened: Opened) -> None:
    async def check(intake: Intake) -> None:
        receipts = await asyncio.gather(*(intake.accept(batch(0, 3), Lane.LIVE) for _ in range(4)))
        assert sorted(receipt.duplicate for receipt in receipts) == [False, True, True, True]
    run(opened, check)


def test_a_forgotten_import_can_come_again_and_others_stay(opened: Opened) -> None:
    async def check(intake: Intake) -> None:
        await intake.accept(batch(0, 3, stream="a", import_id="i1"), Lane.BULK)
        await intake.accept(batch(0, 3, stream="b", import_id="i2"), Lane.BULK)
        await intake.forget_import("i1")
        assert (intake.received("a"), intake.received("b")) == ([], [(0, 2)])
        assert not (await intake.accept(batch(0, 3, stream="a", import_id="i3"), Lane.BULK)).duplicate
    run(opened, check)


def test_nothing_is_taken_for_a_forgotten_import(opened: Opened) -> None:
    """It would be acknowledged, thrown away, and stand in the way of those who bring the same content again."""
    async def check(intake: Intake) -> None:
        await intake.accept(batch(0, 3, stream="a", import_id="i1"), Lane.BULK)
        await intake.forget_import("i1")
        with pytest.raises(InputRefused, match="i1"):
            await intake.accept(batch(3, 3, stream="a", import_id="i1"), Lane.BULK)
        assert not (await intake.accept(batch(0, 6, stream="a", import_id="i3"), Lane.BULK)).duplicate
    run(opened, check)


def test_what_is_on_its_way_while_its_import_is_forgotten_can_come_again(opened: Opened) -> None:
    async def check(intake: Intake) -> None:
        coming = asyncio.ensure_future(intake.accept(batch(0, 3, stream="a", import_id="i1"), Lane.BULK))
        await asyncio.sleep(0)
        await intake.forget_import("i1")
        await coming
        assert not (await intake.accept(batch(0, 3, stream="a", import_id="i3"), Lane.BULK)).duplicate
    run(opened, check)


@pytest.mark.parametrize("restarted", [False, True])
def test_an_import_whose_undoing_was_interrupted_does_not_keep_its_content(tmp_path: Path, restarted: bool) -> None:
    """Its tombstone is written, and nobody told the gateway, which keeps the ranges once more."""
    def intake() -> DurableIntake:
        return DurableIntake(tmp_path, RealDisk(), NodeDatabase(tmp_path / "node.db"))

    async def all_of_it() -> None:
        first = intake()
        await first.start()
        await first.accept(batch(0, 3, stream="a", import_id="i1"), Lane.BULK)
        with NodeDatabase(tmp_path / "node.db").write() as c:
            c.execute("INSERT INTO undone VALUES ('i1', 1, 'somebody')")
        second = first
        if restarted:
            await first.stop()
            second = intake()
            await second.start()
        with pytest.raises(InputRefused, match="i1"):
            await second.accept(batch(3, 3, stream="a", import_id="i1"), Lane.BULK)
        assert not (await second.accept(batch(0, 3, stream="a", import_id="i3"), Lane.BULK)).duplicate
        assert (await second.accept(batch(0, 3, stream="a", import_id="i3"), Lane.BULK)).duplicate
        await second.stop()
    asyncio.run(all_of_it())


def test_an_idle_intake_is_not_congested(opened: Opened) -> None:
    async def check(intake: Intake) -> None:
        assert [intake.congestion(lane) for lane in Lane] == [0.0, 0.0]
        assert intake.congestion() == 0.0
    run(opened, check)


def test_the_durable_intake_remembers_after_a_restart(opened: Opened, request: pytest.FixtureRequest) -> None:
    if "memory" in request.node.name:
        pytest.skip("memory forgets")

    async def before(intake: Intake) -> None:
        await intake.accept(batch(0, 3), Lane.LIVE)
        await intake.accept(batch(ASSIGN, 2, stream="lines"), Lane.LIVE)

    async def after(intake: Intake) -> None:
        assert (await intake.accept(batch(0, 3), Lane.LIVE)).duplicate
        assert (await intake.accept(batch(ASSIGN, 2, stream="lines"), Lane.LIVE)).first == 2
    run(opened, before)
    run(opened, after)
