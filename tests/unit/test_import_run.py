"""Imports against a gateway that keeps ranges as the real one does: complete, numbered once, safe to repeat and interrupt."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from collectors.archive import Walk
from soc.commands.import_run import Importer, Options, Outcome, survey
from soc.commands.import_undo import undo_import
from soc.database import STATE, Database, sqlite_url
from soc.errors import InputRefused, NotFoundError, StoreError
from soc.event import Scope
from soc.ingest.deliver import Delivered, Delivery, Shipment
from soc.ingest.imports import ImportStore, import_id, undone_among

ALL = Scope.everything()


class Gateway(Delivery):
    """Keeps what it acknowledged: (stream, number) -> (record, shipment); refuses partial overlaps as a whole."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], tuple[bytes, Shipment]] = {}
        self.fail_after: int | None = None
        self.fault: BaseException = KeyboardInterrupt()

    def send(self, shipment: Shipment, first: int, records: Sequence[bytes]) -> Delivered:
        if self.fail_after is not None:
            if self.fail_after == 0:
                raise self.fault
            self.fail_after -= 1
        keys = [(shipment.stream, first + i) for i in range(len(records))]
        known = [key in self.kept for key in keys]
        assert all(known) or not any(known), "batches are cut alike, so a resend never overlaps in part"
        if all(known):
            return Delivered(0, len(records))
        self.kept.update((key, (record, shipment)) for key, record in zip(keys, records, strict=True))
        return Delivered(len(records), 0)

    def forget(self, import_id: str) -> None:
        self.kept = {key: value for key, value in self.kept.items() if value[1].import_id != import_id}

    def records(self) -> list[bytes]:
        return sorted(record for record, _ in self.kept.values())

    def ids(self) -> dict[tuple[str, int], int]:
        return {key: shipment.read_at for key, (_, shipment) in self.kept.items()}


class Bench:
    """A state database, a gateway and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database.open(sqlite_url(folder / "state.db"), STATE)
        self.database.migrate()
        self.store = ImportStore(self.database)
        self.gateway = Gateway()
        self.now = 1_700_000_000_000_000

    def run(self, *paths: Path, options: Options = Options(), alive: bool = False) -> Outcome:
        self.now += 60_000_000
        inputs = [str(path) for path in paths]
        importer = Importer(store=self.store, delivery=self.gateway, options=options)
        walk = Walk(inputs, self.folder / "spool", self.now / 1e6)
        return importer.run(
            walk, actor="local:test", inputs=inputs, now=self.now, clock=lambda: self.now + 1, alive=lambda _: alive)

    def undo(self, import_id: str) -> None:
        undo_import(import_id, self.store, Steps(self.gateway), now=self.now)


class Steps:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def alerts(self, import_id: str) -> int:
        return 0

    def events(self, import_id: str) -> int:
        return sum(shipment.import_id == import_id for _, shipment in self.gateway.kept.values())

    def forget(self, import_id: str) -> None:
        self.gateway.forget(import_id)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def log(path: Path, first: int, last: int, end: str = "\n") -> Path:
    """Add lines `first` to `last` (not included) to a log."""
    with open(path, "a") as file:
        file.write("".join(f"line {n}\n" for n in range(first, last)).removesuffix("\n") + end)
    return path


def lines(first: int, last: int) -> list[bytes]:
    return sorted(f"line {n}".encode() for n in range(first, last))


def test_every_line_is_delivered_once_with_its_ordinal(bench: Bench, tmp_path: Path) -> None:
    outcome = bench.run(log(tmp_path / "a.log", 0, 2500))
    assert (outcome.state, outcome.read, outcome.records, outcome.duplicates) == ("done", 1, 2500, 0)
    assert bench.gateway.records() == lines(0, 2500)
    (stream,) = {stream for stream, _ in bench.gateway.kept}
    assert all(bench.gateway.kept[stream, n][0] == f"line {n}".encode() for n in range(2500))


def test_identical_lines_are_distinct_records(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("same\n" * 7)
    assert bench.run(tmp_path / "a.log").records == 7
    assert bench.gateway.records() == [b"same"] * 7


def test_repeated_import_brings_nothing_new(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 1500)
    first = bench.run(path)
    before = dict(bench.gateway.ids())
    path.rename(tmp_path / "renamed.log")
    second = bench.run(tmp_path / "renamed.log")
    assert (second.records, second.duplicates, second.state) == (0, 1500, "done")
    assert bench.gateway.ids() == before
    assert second.import_id != first.import_id
    (file,) = bench.store.files(second.import_id, ALL)
    assert file.state == "duplicate"
    assert first.import_id in file.reason


def test_same_content_twice_in_one_import_is_one(bench: Bench, tmp_path: Path) -> None:
    outcome = bench.run(log(tmp_path / "a.log", 0, 10), log(tmp_path / "b.log", 0, 10))
    assert (outcome.read, outcome.records, outcome.duplicates) == (2, 10, 10)
    assert [file.state for file in bench.store.files(outcome.import_id, ALL)] == ["read", "duplicate"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), StoreError("the gateway is away")])
@pytest.mark.parametrize("batches", [0, 1, 3])
def test_interrupted_import_is_gone_on_with_under_its_own_id(
    bench: Bench, tmp_path: Path, fault: BaseException, batches: int,
) -> None:
    paths = [log(tmp_path / "a.log", 0, 2100), log(tmp_path / "b.log", 5000, 7100)]
    bench.gateway.fail_after, bench.gateway.fault = batches, fault
    with pytest.raises(type(fault)):
        bench.run(*paths)
    (begun,) = bench.store.list(ALL)
    assert begun.state == "interrupted"
    at = dict(bench.gateway.ids())
    bench.gateway.fail_after = None
    outcome = bench.run(*paths)
    assert outcome.import_id == begun.id
    assert bench.gateway.records() == sorted(lines(0, 2100) + lines(5000, 7100))
    assert {key: bench.gateway.ids()[key] for key in at} == at
    (ended,) = bench.store.list(ALL)
    assert (ended.state, ended.records, ended.duplicates, ended.read) == ("done", 4200, 0, 2)
    assert {shipment.import_id for _, shipment in bench.gateway.kept.values()} == {begun.id}


def test_killed_import_is_gone_on_with_and_counts_right(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = log(tmp_path / "a.log", 0, 2500)
    bench.gateway.fail_after = 2
    with monkeypatch.context() as killed:
        for name in ("end_file", "left", "end"):  # kill -9: nothing is written down any more
            killed.setattr(bench.store, name, lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            bench.run(path)
    assert bench.store.list(ALL)[0].state == "running"
    bench.gateway.fail_after = None
    outcome = bench.run(path)
    assert bench.gateway.records() == lines(0, 2500)
    (found,) = bench.store.list(ALL)
    assert (found.id, found.state, found.records, found.duplicates) == (outcome.import_id, "done", 2500, 0)


def test_import_that_still_runs_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 10)
    options = {**Options().kept(), "inputs": [str(path)], "pid": 0}
    other = bench.store.begin(actor="x", agency="unassigned", options=options, now=1)
    assert bench.run(path, alive=True).import_id != other.id


def test_another_command_finishes_what_was_interrupted_in_its_owners_name(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 2500)
    bench.gateway.fail_after = 1
    with pytest.raises(KeyboardInterrupt):
        bench.run(path)
    bench.gateway.fail_after = None
    (begun,) = bench.store.list(ALL)
    other = bench.run(log(tmp_path / "b.log", 9000, 9010), path)
    assert other.import_id != begun.id
    assert (other.records, other.continued) == (10, 1500)
    assert other.touched == {begun.id, other.import_id}
    assert bench.gateway.records() == sorted(lines(0, 2500) + lines(9000, 9010))
    assert bench.store.get(begun.id, ALL).records == 2500
    bench.undo(begun.id)
    assert bench.gateway.records() == lines(9000, 9010)


def test_other_options_do_not_continue_an_interrupted_file(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 2500)
    bench.gateway.fail_after = 1
    with pytest.raises(KeyboardInterrupt):
        bench.run(path)
    bench.gateway.fail_after = None
    (begun,) = bench.store.list(ALL)
    outcome = bench.run(path, options=Options(agency="so-y-te"))
    assert (outcome.state, outcome.refused) == ("failed", 1)
    assert f"soc import undo {begun.id}" in outcome.left[0].reason
    bench.undo(begun.id)
    assert bench.run(path, options=Options(agency="so-y-te")).records == 2500
    assert {shipment.agency for _, shipment in bench.gateway.kept.values()} == {"so-y-te"}


def test_grown_log_brings_only_what_is_new(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 1500)
    bench.run(path)
    for first in (1500, 1501, 4000):
        log(path, first, first + 7)
        outcome = bench.run(path)
        assert (outcome.records, outcome.duplicates) == (7, 0)
    assert bench.gateway.records() == sorted(lines(0, 1507) + lines(1501, 1508) + lines(4000, 4007))


def test_small_log_that_grew_over_a_page_is_known(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 1)
    bench.run(path)
    log(path, 1, 3000)
    assert bench.run(path).records == 2999


def test_line_that_was_unfinished_comes_again_when_it_is_whole(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 3, end="")
    path.write_text("line 0\nline 1\nlin")
    bench.run(path)
    path.write_text("line 0\nline 1\nline 2\nline 3\n")
    bench.run(path)
    assert bench.gateway.records() == [b"lin", *lines(0, 4)]


def test_finished_line_without_newline_does_not_come_again(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 3, end="")
    bench.run(path)
    path.write_text("line 0\nline 1\nline 2\nline 3\n")
    assert bench.run(path).records == 1
    assert bench.gateway.records() == lines(0, 4)


def test_log_that_grew_after_an_interruption_is_complete(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 2500)
    bench.gateway.fail_after = 1
    with pytest.raises(KeyboardInterrupt):
        bench.run(path)
    bench.gateway.fail_after = None
    log(path, 2500, 2600)
    bench.run(path)
    assert bench.gateway.records() == lines(0, 2600)


def test_changed_log_is_another_content(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 1500)
    bench.run(path)
    path.write_text(path.read_text().replace("line 700\n", "LINE 700\n"))
    assert bench.run(path).records == 1500


def test_undone_import_can_be_imported_anew(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 1500)
    first = bench.run(path)
    bench.run(path)
    bench.undo(first.import_id)
    assert bench.gateway.records() == []
    again = bench.run(path)
    assert (again.records, again.duplicates) == (1500, 0)
    assert bench.store.get(first.import_id, ALL).state == "undone"
    bench.undo(first.import_id)  # once more, as after an interruption
    assert bench.gateway.records() == lines(0, 1500)


def test_undoing_the_head_of_a_grown_log_leaves_its_tail_and_can_be_made_good(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 1500)
    first = bench.run(path)
    log(path, 1500, 3000)
    second = bench.run(path)
    bench.undo(first.import_id)
    assert bench.gateway.records() == lines(1500, 3000)
    third = bench.run(path)
    assert bench.gateway.records() == lines(0, 3000)
    bench.undo(second.import_id)
    assert bench.gateway.records() == lines(0, 1500)
    bench.undo(third.import_id)
    assert bench.gateway.records() == []


def test_undone_imports_raise_no_alerts_any_more(bench: Bench, tmp_path: Path) -> None:
    outcome = bench.run(log(tmp_path / "a.log", 0, 5))
    bench.store.undoing(outcome.import_id, ALL)
    with bench.database.read() as connection:
        assert undone_among(connection, [outcome.import_id, "other"]) == {outcome.import_id}


def test_file_that_grows_while_it_is_read_is_taken_as_it_was(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 1500)

    class Growing(Gateway):
        def send(self, shipment: Shipment, first: int, records: Sequence[bytes]) -> Delivered:
            log(path, 9000, 9001)
            return super().send(shipment, first, records)

    bench.gateway = Growing()
    assert bench.run(path).records == 1500
    assert bench.gateway.records() == lines(0, 1500)


def test_refused_and_skipped_are_listed_with_their_reasons(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    log(tmp_path / "in" / "a.log", 0, 3)
    (tmp_path / "in" / "bad.evtx").write_bytes(b"no event log at all")
    (tmp_path / "in" / "notes.md").write_text("text")
    outcome = bench.run(tmp_path / "in", tmp_path / "none.log")
    assert (outcome.read, outcome.refused, outcome.skipped, outcome.records) == (1, 2, 1, 3)
    states = {Path(file.name).name: (file.state, file.reason) for file in bench.store.files(outcome.import_id, ALL)}
    assert states["bad.evtx"] == ("refused", "not a Windows event log: it does not begin as one")
    assert states["notes.md"][0] == "skipped"
    assert states["none.log"] == ("refused", "there is no such file")
    assert bench.store.get(outcome.import_id, ALL).refused == 2


def test_import_of_nothing_readable_failed(bench: Bench, tmp_path: Path) -> None:
    assert bench.run(tmp_path / "none.log").state == "failed"


def test_refusal_of_the_gateway_ends_the_import_as_failed(bench: Bench, tmp_path: Path) -> None:
    bench.gateway.fail_after, bench.gateway.fault = 0, InputRefused("no such parser")
    with pytest.raises(InputRefused, match="no such parser"):
        bench.run(log(tmp_path / "a.log", 0, 3))
    assert bench.store.list(ALL)[0].state == "failed"


def test_survey_says_what_would_happen_and_sends_nothing(bench: Bench, tmp_path: Path) -> None:
    path = log(tmp_path / "a.log", 0, 20)
    bench.run(path)
    log(tmp_path / "b.log", 50, 60)
    found = {Path(each.name).name: each for each in survey(
        Walk([str(path), str(tmp_path / "b.log"), "none.log"], tmp_path, bench.now / 1e6), bench.store, bench.now)}
    assert {name: (each.state, each.records) for name, each in found.items()} == {
        "a.log": ("duplicate", 20), "b.log": ("read", 10), "none.log": ("refused", 0)}
    assert len(bench.gateway.kept) == 20


def test_imports_are_shown_within_scope(bench: Bench, tmp_path: Path) -> None:
    outcome = bench.run(log(tmp_path / "a.log", 0, 5), options=Options(agency="so-y-te"))
    assert [each.id for each in bench.store.list(Scope.of(["so-y-te"]))] == [outcome.import_id]
    assert bench.store.list(Scope.of(["so-khac"])) == []
    with pytest.raises(NotFoundError):
        bench.store.get(outcome.import_id, Scope.of(["so-khac"]))
    with pytest.raises(NotFoundError):
        bench.store.files(outcome.import_id, Scope.of(["so-khac"]))


def test_import_ids_sort_by_time() -> None:
    moments = [1_700_000_000_000_000 + 10_000 * n for n in range(200)]
    ids = [import_id(each) for each in moments]
    assert ids == sorted(ids)
    assert len(set(ids)) == 200


def test_json_beside_its_event_log_is_not_imported_twice(bench: Bench, test_data: Path) -> None:
    outcome = bench.run(test_data / "sigma-regression.zip")
    assert (outcome.read, outcome.refused, outcome.records + outcome.duplicates) == (203, 0, 239)
    assert sum("a copy" in file.reason for file in outcome.left) == 202


def test_real_logs_come_in_whole(bench: Bench, test_data: Path) -> None:
    paths = [test_data / name for name in ("evtx-attack-samples.zip", "linux-logs.zip", "windows-events.jsonl.zst")]
    outcome = bench.run(*paths)
    assert (outcome.read, outcome.records, outcome.duplicates, outcome.bad) == (132, 4171 + 6000 + 102_003, 0, 0)


