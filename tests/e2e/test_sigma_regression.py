"""The public rules on the events that their authors recorded for them: EVTX and one Cisco line, through parsers and engine."""
from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from collectors.evtx import read_evtx
from collectors.lines import Tally
from soc.detect.compiled import CompiledRule
from soc.detect.engine import Engine
from soc.detect.packs import read_pack
from soc.detect.rules import read_rules
from soc.event import FrameContext
from soc.normalise.records import Parsers
from soc.store.columns import batch_of

CONTEXT = FrameContext(source="test", stream="test", first=0, count=1, read_at=1, ingested=1)
MORE = {
    "8fbf3271-1ef6-4e94-8210-03c2317947f6": 3,  # procdump64.exe, procdump64a.exe, procdump.exe, each of them listed in the rule
    "0b9ad457-2554-44c1-82c2-d56a99c42377": 3,  # user.conf.new twice, user.conf~RF….TMP
    "45e112d0-7759-4c2a-aa36-9f8fb79d3393": 3,  # https, http and * of the zone map
    "c7dcacd0-cc59-4004-b0a4-1d6cdebe6f3e": 2,  # AutoShareServer and AutoShareWks
}
"""Rules whose recording says match_count 1 but holds more events that the rule's text plainly matches."""


@pytest.fixture(scope="module")
def rules(test_data: Path) -> dict[str, CompiledRule]:
    found: dict[str, CompiledRule] = {}
    for file in read_pack(test_data / "sigma-rules.zip").files:
        taken, faults, _ = read_rules(file.path, file.data)
        assert not faults
        found |= {rule.rule_id: rule.rule for rule in taken if rule.rule is not None}
    return found


@pytest.fixture(scope="module")
def engine(rules: dict[str, CompiledRule]) -> Engine:
    return Engine(rules.values())


def hits(engine: Engine, raws: list[bytes]) -> list[str]:
    parsed = Parsers().parse_frame(CONTEXT, raws)
    assert not parsed.dead
    return [hit.rule_id for hit in engine.match(batch_of([one.event for one in parsed.events]))]


def test_every_recording_is_matched_by_its_rule_as_often_as_it_says(test_data: Path, engine: Engine) -> None:
    cases = 0
    wrong: list[Any] = []
    with zipfile.ZipFile(test_data / "sigma-regression.zip") as archive:
        for name in (name for name in archive.namelist() if name.endswith("info.yml")):
            info = yaml.load(archive.read(name), Loader=yaml.CSafeLoader)
            rule_id = info["rule_metadata"][0]["id"]
            for case in info.get("regression_tests_info", ()):
                cases += 1
                records = list(read_evtx(io.BytesIO(archive.read(case["path"])), Tally()))
                count = hits(engine, records).count(rule_id)
                said = case.get("match_count")
                fits = count >= 1 if said is None else count == MORE.get(rule_id, said)
                if not fits:
                    wrong.append((name, said, count))
    assert cases == 202
    assert wrong == []


def test_the_cisco_line_is_matched_once(test_data: Path, engine: Engine) -> None:
    with zipfile.ZipFile(test_data / "sigma-regression.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith(".raw"))
        info = archive.read(str(Path(name).with_name("info.yml"))).decode()
        said = int(re.search(r"match_count: (\d+)", info)[1])  # type: ignore[index]
        lines = archive.read(name).splitlines()
    assert hits(engine, lines).count(Path(name).stem) == said == 1


def test_the_whole_public_pack_is_accepted(rules: dict[str, CompiledRule]) -> None:
    assert len(rules) == 3755  # of 3,780; 25 need the list of a placeholder
