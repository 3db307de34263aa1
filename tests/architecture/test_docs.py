"""The documentation names everything that exists. Run this file to write the two reference pages anew."""
from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from soc.cli import COMMANDS, command
from soc.config import settings

ROOT = Path(__file__).parents[2]
DOCS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

CONFIGURATION = (
    "Every key of `config.yaml`, made from the code. Times carry `ms`, `s`, `m`, `h`, `d` or `w`, sizes `KiB`, `MiB`,",
    "`GiB` (or `kB`, `MB`, `GB`), shares `%`. `SOC_<SECTION>__<KEY>` in the environment wins over the file.",
    "All faults of a file are told at once, each with its line; nothing is touched before they are mended.",
)
HOW_COMMANDS_GO = (
    "Made from the code; `soc COMMAND --help` says the same. Global options, before or after the command: `--data` (or",
    "`SOC_DATA`), `--config` (or `SOC_CONFIG`), `--verbose`. Exit codes: 0 fine, 1 it failed or found faults, 2 wrong",
    "usage. Listings take `--json`.",
)


def configuration_page() -> str:
    """docs/configuration.md: a table of every setting."""
    lines = ["# Configuration", "", *CONFIGURATION]
    last = ""
    for section, key, found in settings():
        if section != last:
            lines += ["", f"## {section}", "", "| key | default | allowed | what for |", "| --- | --- | --- | --- |"]
            last = section
        allowed = ", ".join(found.choices) or (f"{found.low} to {found.high}" if found.low else found.kind.value)
        default = f"`{found.default}`" if found.default else "(empty)"
        lines.append(f"| `{section}.{key}` | {default} | {allowed} | {found.sentence} |")
    return "\n".join(lines) + "\n"


@cache
def every_command(name: str) -> list[tuple[str, Any]]:
    """(path, click command) of `name` and all below it."""
    def walk(path: str, found: Any) -> list[tuple[str, Any]]:
        below = getattr(found, "commands", {})
        return [(path, found)] + [pair for child in below for pair in walk(f"{path} {child}", below[child])]

    return walk(f"soc {name}", command(name))


def commands_page() -> str:
    """docs/commands.md: every command with its arguments and options."""
    lines = ["# Commands", "", *HOW_COMMANDS_GO]
    for name in COMMANDS:
        for path, found in every_command(name):
            sentence = re.sub(r"\[/?[a-z]*\]", "", " ".join((found.help or "").split("\n\n")[0].split()))
            lines += ["", f"{'##' if path.count(' ') == 1 else '###'} {path}", "", sentence]
            parameters = [p for p in found.params if p.name not in ("help", "install_completion", "show_completion") and not getattr(p, "hidden", False)]
            if parameters:
                lines.append("")
            for p in parameters:
                shown = ", ".join(f"`{o}`" for o in (*p.opts, *p.secondary_opts)) if p.param_type_name == "option" \
                    else f"`{(p.name or '').upper()}`"
                lines.append(f"* {shown}: {' '.join((getattr(p, 'help', None) or '').split()) or 'see above'}")
    return "\n".join(lines) + "\n"


PAGES = {"configuration.md": configuration_page, "commands.md": commands_page}


@pytest.mark.parametrize("page", PAGES)
def test_reference_page_is_up_to_date(page: str) -> None:
    written = (ROOT / "docs" / page).read_text()
    assert written == PAGES[page](), "write it anew: python tests/architecture/test_docs.py"


def test_every_parser_is_documented() -> None:
    text = "\n".join(path.read_text() for path in DOCS)
    parsers = [path.stem for path in (ROOT / "soc" / "normalise" / "parsers").glob("*.py") if not path.stem.startswith("_")]
    assert parsers
    assert [name for name in parsers if f"`{name}`" not in text] == []


def test_every_folder_has_its_line_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    folders = [path.parent for name in ("soc", "alerts", "collectors", "agents") for path in (ROOT / name).rglob("__init__.py")]
    named = [folder.relative_to(ROOT).as_posix() for folder in folders]
    assert [name for name in named if f"`{name}/`" not in text and "migrations/" not in name] == []


@pytest.mark.parametrize("page", DOCS, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", DOCS, ids=lambda path: path.name)
def test_commands_in_the_docs_exist(page: Path) -> None:
    known = {path for name in COMMANDS for path, _ in every_command(name)}
    leaves = {"soc import"}  # without a further word it takes files
    leaves |= {path for name in COMMANDS for path, found in every_command(name) if not getattr(found, "commands", None)}
    blocks = "\n".join(re.findall(r"```.*?```", page.read_text(), re.DOTALL))
    for line in re.findall(r"^\s*(?:\$ )?(soc [a-z].*)$", blocks, re.MULTILINE):
        words = [word for word in line.split() if not word.startswith("-")]
        prefixes = {" ".join(words[:n]) for n in range(2, 4)}
        assert prefixes & leaves or prefixes & known == {line.strip()}, line


if __name__ == "__main__":
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page())
