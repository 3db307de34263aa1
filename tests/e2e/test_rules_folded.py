"""One rule on a folded copy meets all five spellings of a Vietnamese text, in a file of access lines as in the imported ones."""
from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import quote

RULE = """title: A gambling page put into a site
id: 00000000-0000-4000-8000-0000000000f1
level: high
logsource: {category: webserver}
detection:
    selection:
        url.original.folded|contains: 'cờ?bạc'
    condition: selection
"""
SPELLINGS = ["cờ+bạc", unicodedata.normalize("NFD", "cờ+bạc"), "CỜ+BẠC", quote("cờ bạc"), "co-bac"]
OTHERS = ["cơm+bạc", "cobac", "co--bac", quote("có các")]


def access_lines(words: list[str]) -> str:
    return "".join(f'203.0.113.{at} - - [24/Nov/2026:08:00:{at:02} +0700] "GET /tin/{word}?p=1 HTTP/1.1" 200 12 "-" "curl/8"\n'
                   for at, word in enumerate(words, start=1))


def test_five_of_five_spellings_by_match_and_by_import(centre: Any, tmp_path: Path) -> None:
    rule, log = tmp_path / "rule.yml", tmp_path / "access.log"
    rule.write_text(RULE, "utf-8")
    log.write_text(access_lines([*SPELLINGS, *OTHERS]), "utf-8")
    done = centre.soc("rules", "match", str(rule), str(log), "--json")
    assert [hit["line"] for hit in json.loads(done.stdout)] == [1, 2, 3, 4, 5]
    centre.soc("rules", "import", str(rule))
    centre.soc("import", str(log))
    alerts = centre.json("alerts", "list")
    assert sum(alert["count"] for alert in alerts) == len(SPELLINGS)
    assert {alert["entity"] for alert in alerts} == {f"203.0.113.{at}" for at in range(1, 6)}
