"""Every error that can reach a page has its Vietnamese words, what the catalogue says is what the code says, and a 403 says what to do."""
from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from soc.console.language import LANGUAGES, load_messages, translator
from soc.console.wording import Wording, load_wording

ROOT = Path(__file__).parents[2]
KINDS = {"ChangedError", "DiskFullError", "DuplicateError", "InputRefused", "NotFoundError", "PermissionDenied", "QueryError", "RuleError", "StoreError",
         "TooLargeError", "TransitionRefused"}
REACHABLE = (
    *sorted((ROOT / "soc" / "console").rglob("*.py")), *sorted((ROOT / "alerts").rglob("*.py")),
    *sorted((ROOT / "soc" / "store").glob("query*.py")), *sorted((ROOT / "soc" / "store").glob("embedded*.py")),
    *(ROOT / "soc" / name for name in (
        "access/passwords.py", "access/principal.py", "access/relay.py", "access/sources.py", "access/setup.py", "access/authentication.py", "store/deadletters.py",
        "ingest/replay.py", "detect/release.py", "detect/packs.py", "detect/packwork.py", "detect/holds.py")))
"""The modules whose errors a page shows; what lies deeper comes framed as the system's own words."""


def templates(node: ast.AST) -> Iterator[str]:
    """The texts in an expression, what is filled in as {1}, {2} …"""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        number, text = 0, ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            else:
                number += 1
                text += f"{{{number}}}"
        yield text
    elif isinstance(node, ast.IfExp):
        yield from templates(node.body)
        yield from templates(node.orelse)


def raised(path: Path) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """(place, kind, messages, remedies) of every error that a module makes."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and name in KINDS and node.args:
            remedies = [text for one in node.keywords if one.arg == "remedy" for text in templates(one.value)]
            yield f"{path.relative_to(ROOT)}:{node.lineno}", name, list(templates(node.args[0])), remedies


RAISED = [one for path in REACHABLE for one in raised(path)]


def test_every_error_that_reaches_a_page_has_vietnamese_words():
    known = load_wording("vi")
    assert len(RAISED) > 50
    lacking = [(place, text) for place, _, messages, remedies in RAISED for text in (*messages, *remedies)
               if re.search("[a-z]{3}", text) and text not in known]
    assert lacking == []


def test_the_reasons_of_ill_health_have_vietnamese_words():
    known, found = load_wording("vi"), set()
    for node in ast.walk(ast.parse((ROOT / "soc" / "health.py").read_text("utf-8"))):
        if isinstance(node, ast.AugAssign | ast.Assign) and "reasons" in ast.unparse(node).split("=")[0]:
            found |= {text for part in ast.walk(node.value) if isinstance(part, ast.List) for one in part.elts for text in templates(one)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "reasons.append":
            found |= set(templates(node.args[0]))
    assert len(found) >= 8
    assert found - set(known) == set()


def test_the_catalogue_holds_nothing_that_the_code_does_not_say():
    said: set[str] = set()
    for top in ("soc", "alerts", "collectors"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                said |= set(templates(node))
    gaps = {"{1} gap, {2} s late", "{1} gaps, {2} s late"}  # one text with a plural's s
    assert set(load_wording("vi")) - said - gaps == set()


def test_what_is_filled_in_is_filled_in_in_every_language():
    for language in LANGUAGES:
        for english, other in load_wording(language).items():
            assert set(re.findall(r"\{(\d)", other)) <= set(re.findall(r"\{(\d)", english)), english


def test_a_refusal_says_what_to_do():
    assert [place for place, kind, _, remedies in RAISED if kind == "PermissionDenied" and not remedies] == []


@pytest.mark.parametrize(("english", "vietnamese"), [
    ("no alert 'x'", "Không có cảnh báo 'x', hoặc nó ngoài phạm vi của bạn."),
    ("an alert that is new cannot become reopened", "Cảnh báo ở trạng thái “Mới” không thể chuyển sang “Mở lại”."),
    ("it can become: closed, waiting", "Có thể chuyển sang: Đã đóng, Đang chờ."),
    ("no alert '{1} {2}'", "Không có cảnh báo '{1} {2}', hoặc nó ngoài phạm vi của bạn."),
    ("no alert " + "x" * 5000, ""), ("a parser's own words", ""),
])
def test_words_are_found_by_their_template(english, vietnamese):
    assert Wording(load_wording("vi"), translator(load_messages()["vi"]))(english) == vietnamese
