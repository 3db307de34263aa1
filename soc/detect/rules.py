"""Sigma rules: text -> checked and compiled rules, or the reason why not. pySigma parses and validates, file by file.

pySigma is loaded at first use (import, check, match); the detector reads compiled rules and never needs it.
"""
from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import Any, Final

from soc.detect.compiled import AtomSpec, CompiledRule, Detection, LogSource
from soc.detect.conditions import Tree, parse_condition
from soc.detect.foldedfields import folded_spec
from soc.detect.lint import LEVELS, place, rule_faults
from soc.detect.lists import Lists
from soc.detect.yamltext import Document, read_documents
from soc.errors import RuleError

__all__ = [
    "LEVELS", "MAX_ATOMS", "FoundRule", "NotARule", "build_detection", "compile_document", "compile_text", "entity_field", "found_rule",
    "read_rules"]

MAX_ATOMS: Final = 20_000
"""Tests of one rule, after modifiers such as windash and base64offset have multiplied them."""
MAX_TREE: Final = 200_000
"""Nodes of a condition once selections stand in for their names."""
_KINDS: Final = frozenset({"detection", "correlation", "filter"})
_OTHER_KINDS: Final = frozenset({"correlation", "filter"})
PLACEHOLDER: Final = "placeholder"
_NAMESPACE: Final = uuid.UUID("5f1c0de2-6d3b-5b6e-9a34-0c6f2b7f9b10")


class NotARule(Exception):
    """YAML that does not even look like a Sigma rule: listed as skipped, not as refused."""


@dataclass(frozen=True, slots=True)
class FoundRule:
    """A rule read from a file: what lists show, its source, and its compiled form.

    `rule` is None where the rule is accepted but cannot run yet; `off` then says why ("placeholder"). `kind` is rule, correlation or
    filter (then `rule.detection` holds that packed); `name` is what other documents may refer to it by.
    """

    rule_id: str
    version: str
    title: str
    level: str
    status: str
    tags: tuple[str, ...]
    logsource: LogSource
    author: str
    path: str
    line: int
    source: str
    rule: CompiledRule | None
    off: str = ""
    kind: str = "rule"
    name: str = ""


@dataclass(slots=True)
class _Build:
    """The atoms of one rule while it is compiled; `missing` placeholders have no list."""

    document: Document
    missing: dict[str, None] = field(default_factory=dict)
    atoms: list[AtomSpec] = field(default_factory=list)
    numbers: dict[AtomSpec, int] = field(default_factory=dict)
    nodes: int = 0

    def atom(self, spec: AtomSpec) -> int:
        spec = folded_spec(spec)
        number = self.numbers.get(spec)
        if number is None:
            number = self.numbers[spec] = len(self.atoms)
            self.atoms.append(spec)
            if number >= MAX_ATOMS:
                raise RuleError(f"more than {MAX_ATOMS} tests in one rule", remedy="split its lists over several rules")
        return number


def read_rules(path: str, data: bytes, lists: Lists = MappingProxyType({})) -> tuple[list[FoundRule], list[RuleError], list[str]]:
    """The rules of one file, the faults (each with path and line), and why documents of it are not rules at all.

    Placeholders are filled from `lists`; a rule with one that is not there has no compiled form and says so.
    """
    found: list[FoundRule] = []
    faults: list[RuleError] = []
    skipped: list[str] = []
    try:
        documents = read_documents(data)
    except RuleError as error:
        return [], [_placed(error, path, 0)], []
    if not documents:
        skipped.append("no YAML document in it")
    for document in documents:
        document.lists = lists
        if isinstance(document.value, dict) and "action" in document.value:
            obsolete = place(document, ("action",), "rule collections by 'action' are obsolete: nothing of this file is taken",
                             "write each rule out in full")
            return [], [_placed(obsolete, path, document.line)], []
    for number, document in enumerate(documents):
        wrong = rule_faults(document) if _is_detection(document.value) else _meta_faults(document)
        if wrong:
            faults += [_placed(error, path, document.line) for error in wrong]
            continue
        try:
            found.append(compile_document(path, document, _source(data, documents, number), number))
        except NotARule as reason:
            skipped.append(str(reason))
        except RuleError as error:
            faults.append(_placed(error, path, document.line))
    return found, faults, skipped


def compile_text(text: str, path: str = "rule.yml", lists: Lists = MappingProxyType({})) -> CompiledRule:
    """The one rule of `text`, for tests and small tools. Raises RuleError."""
    found, faults, skipped = read_rules(path, text.encode(), lists)
    if faults:
        raise faults[0]
    if len(found) != 1 or found[0].rule is None or found[0].kind != "rule":
        raise RuleError(f"not exactly one rule that can run: {skipped or [one.off for one in found]}", path=path)
    return found[0].rule


def _is_detection(value: Any) -> bool:
    return isinstance(value, dict) and not _OTHER_KINDS & value.keys() and (
        "detection" in value or {"title", "logsource"} <= value.keys())


def _meta_faults(document: Document) -> list[RuleError]:
    if not isinstance(document.value, dict) or not _OTHER_KINDS & document.value.keys():
        return []
    from soc.detect.metarules import meta_faults

    return meta_faults(document)


def compile_document(path: str, document: Document, source: str, number: int = 0) -> FoundRule:
    """Compile a document, the `number`th of its file, that the lint finds nothing wrong with.

    Raises NotARule, or RuleError with the line where it is known.
    """
    value = document.value
    if not isinstance(value, dict) or not (_KINDS & value.keys() or {"title", "logsource"} <= value.keys()):
        raise NotARule("YAML, but not a Sigma rule")
    if _OTHER_KINDS & value.keys():
        from soc.detect.metarules import compile_correlation, compile_filter

        return (compile_correlation if "correlation" in value else compile_filter)(path, document, source, number)
    return _compile(path, document, source, number)


def _compile(path: str, document: Document, source: str, number: int) -> FoundRule:
    from sigma.exceptions import SigmaError
    from sigma.rule import SigmaRule

    from soc.detect.modifiers import install

    install()
    try:
        parsed = SigmaRule.from_dict(document.value)
    except SigmaError as error:
        raise RuleError(_one_line(error), line=_line_of(document, str(error))) from None
    except Exception as error:  # noqa: BLE001 - pySigma is not ours: whatever it throws refuses this rule and no other
        raise RuleError(f"{type(error).__name__}: {_one_line(error)}", line=_line_of(document, str(error))) from None
    detection, off = build_detection(parsed.detection, document, "detection")
    packed = None if detection is None else detection.pack()
    return found_rule("rule", path, document, source, number, parsed, packed, entity_field(document), off)


def found_rule(kind: str, path: str, document: Document, source: str, number: int, parsed: Any, packed: bytes | None, entity: str,
               off: str = "") -> FoundRule:
    """What pySigma read (`parsed`) and we compiled (`packed`, None with `off` saying why) as a rule of our own."""
    asked = getattr(parsed, "logsource", None)
    logsource = LogSource(*(str(getattr(asked, part, None) or "").strip().lower() for part in ("product", "category", "service")))
    rule_id = str(parsed.id) if parsed.id else str(uuid.uuid5(_NAMESPACE, f"{path}#{number}" if number else path))
    title = str(parsed.title or rule_id)[:256]
    level = parsed.level.name.lower() if parsed.level else "medium"
    tags = tuple(str(tag) for tag in parsed.tags)
    version = _version(source, document)
    rule = None if packed is None else CompiledRule(rule_id, version, title, level, tags, logsource, packed, entity)
    return FoundRule(
        rule_id, version, title, level, parsed.status.name.lower() if parsed.status else "", tags, logsource,
        str(parsed.author or "")[:256], path, document.line, source, rule, off, kind, str(parsed.name or "")[:256])


def _version(source: str, document: Document) -> str:
    """Changes with the text of a rule and with the lists that fill it."""
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass"))
    for name, values in sorted(document.filled.items()):
        digest.update("\0".join(("", name, *values)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def entity_field(document: Document) -> str:
    """The field that a rule's alerts are kept by, as it asks itself; "" if it does not. Raises RuleError."""
    custom = document.value.get("custom")
    found = document.value.get("soc_entity") or (custom.get("soc_entity") if isinstance(custom, dict) else None)
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > 128:
        raise place(document, ("soc_entity",), "soc_entity: the name of one field is needed")
    return found


# ---- pySigma's objects -> our tree


def build_detection(parsed: Any, document: Document, section: str) -> tuple[Detection | None, str]:
    """pySigma's detections and condition as ours; None and why, if a placeholder is not filled. Raises RuleError with the line."""
    build = _Build(document)
    trees: dict[str, Any] = {}
    for name, selection in parsed.detections.items():
        try:
            trees[name] = _selection(selection, build)
        except RuleError as error:
            error.line = error.line or document.lines.get((section, name), 0)
            raise
    try:
        conditions = [parse_condition(text, list(trees)) for text in parsed.condition]
        tree = _whole([_substitute(one, trees, build) for one in conditions], "|")
    except RuleError as error:
        error.line = error.line or document.lines.get((section, "condition"), 0)
        raise
    if build.missing:
        return None, f"{PLACEHOLDER} " + ", ".join(f"%{name}%" for name in build.missing)
    return Detection(build.atoms, tree), ""


def _substitute(tree: Tree, trees: dict[str, Any], build: _Build) -> Any:
    if isinstance(tree, str):
        build.nodes += _size(trees[tree])
        if build.nodes > MAX_TREE:
            raise RuleError(f"condition of more than {MAX_TREE} tests once written out")
        return trees[tree]
    sign, parts = tree
    inner = [_substitute(part, trees, build) for part in parts]
    return ["!", inner[0]] if sign == "!" else _whole(inner, sign)


def _size(tree: Any) -> int:
    return 1 if isinstance(tree, int) else 1 + sum(_size(part) for part in tree[1:])


def _whole(parts: Sequence[Any], sign: str) -> Any:
    """Trees joined by & or |: flat where they already are, single ones as they stand."""
    flat: list[Any] = []
    for part in parts:
        if isinstance(part, list) and part[0] == sign:
            flat += part[1:]
        else:
            flat.append(part)
    return flat[0] if len(flat) == 1 else [sign, *flat]


def _selection(selection: Any, build: _Build) -> Any:
    from sigma.conditions import ConditionAND
    from sigma.rule import SigmaDetection

    parts = [
        _selection(item, build) if isinstance(item, SigmaDetection) else _item(item, build) for item in selection.detection_items]
    return _whole(parts, "&" if selection.item_linking is ConditionAND else "|")


def _item(item: Any, build: _Build) -> Any:
    from sigma.conditions import ConditionAND
    from sigma.types import SigmaNull

    name = "" if item.field is None else str(item.field).replace(" ", "")
    if not item.value and not name:
        raise RuleError("a keyword list is empty")
    values = item.value or [SigmaNull()]
    tree = _whole([_value(name, value, build) for value in values], "&" if item.value_linking is ConditionAND else "|")
    return ["!", tree] if item.negated else tree


def _value(name: str, value: Any, build: _Build) -> Any:
    from sigma import types as sigma

    kind = type(value)
    if isinstance(value, sigma.SigmaExpansion):
        return _whole([_value(name, one, build) for one in value.values], "|")
    if isinstance(value, sigma.SigmaString):
        cased = kind is sigma.SigmaCasedString
        return _whole([build.atom(_text(name, one, cased)) for one in _filled(value, build)], "|")
    if kind is sigma.SigmaExists:
        atom = build.atom(AtomSpec(name, "exists", ""))
        return atom if value.exists else ["!", atom]
    if kind is sigma.SigmaRegularExpression:
        return build.atom(_regex(name, value, build))
    if kind is sigma.SigmaCIDRExpression:
        return build.atom(AtomSpec(name, "cidr", str(value.network)))
    if not name:
        if kind is sigma.SigmaNumber:
            return build.atom(AtomSpec("", "contains", str(value.number)))
        raise RuleError(f"{kind.__name__} needs a field: a keyword can be text or a number")
    if kind is sigma.SigmaNumber:
        return build.atom(AtomSpec(name, "is", str(value.number)))
    if kind is sigma.SigmaTimestampPart:
        return build.atom(AtomSpec(name, _time_part(value), str(value.number)))
    if kind is sigma.SigmaBool:
        return build.atom(AtomSpec(name, "is", "true" if value.boolean else "false"))
    if kind is sigma.SigmaNull:
        return build.atom(AtomSpec(name, "null", ""))
    if kind is sigma.SigmaCompareExpression:
        op, number = value.op.name.lower(), value.number
        if kind_of := _time_part(number):
            op = f"{kind_of} {op}"
        return build.atom(AtomSpec(name, op, str(number.number)))
    if kind is sigma.SigmaFieldReference:
        where = {(False, False): "", (True, False): " startswith", (False, True): " endswith", (True, True): " contains"}
        test = "fieldref" + where[(value.starts_with, value.ends_with)]
        return build.atom(AtomSpec(name, test, str(value.field).replace(" ", "")))
    raise RuleError(f"{kind.__name__} is not supported")


def _time_part(number: Any) -> str:
    """The part of a time that a number of pySigma's is compared with, "" for plain numbers."""
    part = getattr(number, "timestamp_part", None)
    return part.name.lower() if part is not None else ""


def _text(name: str, value: Any, cased: bool) -> AtomSpec:
    """A string with its wildcards as the plainest test that means the same."""
    from sigma.types import SpecialChars

    parts: list[Any] = []
    for part in value.s:
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        elif part is SpecialChars.WILDCARD_MULTI and parts and parts[-1] is part:
            continue
        elif part != "":
            parts.append(part)
    many = SpecialChars.WILDCARD_MULTI
    if not name:
        parts = parts[1:] if parts[:1] == [many] else parts
        parts = parts[:-1] if parts[-1:] == [many] else parts
        if not parts:
            raise RuleError("an empty keyword would match every event")
        parts = [many, *parts, many]
    first, last = parts[:1] == [many], parts[-1:] == [many]
    inner = parts[1 if first else 0 : len(parts) - 1 if last and len(parts) > 1 else len(parts)]
    if not parts:
        return AtomSpec(name, "is", "", cased)
    if parts == [many]:
        return AtomSpec(name, "any", "")
    if len(inner) == 1 and isinstance(inner[0], str):
        test = "contains" if first and last else "endswith" if first else "startswith" if last else "is"
        return AtomSpec(name, test, inner[0], cased)
    pattern = "".join("*" if part is many else "?" if part is SpecialChars.WILDCARD_SINGLE else re.sub(r"([\\*?])", r"\\\1", part)
                      for part in parts)
    return _checked(AtomSpec(name, "like", pattern, cased))


def _regex(name: str, value: Any, build: _Build) -> AtomSpec:
    from sigma.types import Placeholder, SpecialChars
    from sigma.types import SigmaRegularExpressionFlag as Flag

    signs = {Flag.IGNORECASE: "i", Flag.MULTILINE: "m", Flag.DOTALL: "s"}
    flags = "".join(sign for flag, sign in signs.items() if flag in value.flags)
    texts = {SpecialChars.WILDCARD_MULTI: "*", SpecialChars.WILDCARD_SINGLE: "?"}
    pattern = "".join(
        f"(?:{'|'.join(map(_pattern_of, _list(part.name, build)))})" if isinstance(part, Placeholder)
        else part if isinstance(part, str) else texts[part] for part in value.regexp.s)
    return _checked(AtomSpec(name, "re", f"(?{flags}){pattern}" if flags else pattern))


def _pattern_of(listed: str) -> str:
    """A list's value inside a regular expression: itself, its wildcards as such."""
    from sigma.types import SigmaString, SpecialChars

    many = SpecialChars.WILDCARD_MULTI
    return "".join(re.escape(part) if isinstance(part, str) else ".*" if part is many else "." for part in SigmaString(listed).s)


def _filled(value: Any, build: _Build) -> list[Any]:
    """A text once for every way to fill its placeholders."""
    from sigma.types import Placeholder, SigmaString

    names = [part.name for part in value.s if isinstance(part, Placeholder)]
    if not names:
        return [value]
    if prod(len(_list(name, build)) for name in names) > MAX_ATOMS:
        raise RuleError(f"more than {MAX_ATOMS} ways to fill %{'%, %'.join(names)}%", remedy="use one placeholder in a value, or shorter lists")
    return value.replace_placeholders(lambda part: map(SigmaString, _list(part.name, build)))  # type: ignore[no-any-return]


def _list(name: str, build: _Build) -> Sequence[str]:
    """The values of a placeholder; of one without list its own name, so that the rest of the rule is still checked."""
    found = build.document.lists.get(name.casefold())
    if found is None:
        build.missing[name] = None
        return (f"%{name}%",)
    build.document.filled[name.casefold()] = found
    return found


def _checked(spec: AtomSpec) -> AtomSpec:
    from soc.detect.engine.values import MAX_PATTERN, test_of

    if len(spec.literal) > MAX_PATTERN:
        raise RuleError(f"pattern of {len(spec.literal)} characters: {MAX_PATTERN} are allowed")
    test_of(spec)
    return spec


# ---- places


def _line_of(document: Document, message: str) -> int:
    """The line that pySigma's words point to: the key it quotes, else the section it speaks of."""
    quoted = set(re.findall(r"['\"]([^'\"]{2,80})['\"]", message))
    for path, line in document.lines.items():
        if path[-1] in quoted or (quoted & set(path[-1].split("|"))):
            return line
    words = message.lower().replace("identifier", "id")
    for section in ("condition", "detection", "logsource", "level", "status", "date", "modified", "tags", "id", "title"):
        if re.search(rf"\b{section}\b", words):
            return document.lines.get(("detection", section)) or document.lines.get((section,)) or document.line
    return document.line


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]


def _placed(error: RuleError, path: str, line: int) -> RuleError:
    return RuleError(error.message, path=path, line=error.line or line, remedy=error.remedy)


def _source(data: bytes, documents: Sequence[Document], number: int) -> str:
    """The text of one document of a file."""
    text = data.decode("utf-8-sig")
    if len(documents) == 1:
        return text
    lines = text.splitlines(keepends=True)
    until = documents[number + 1].line - 1 if number + 1 < len(documents) else len(lines)
    return "".join(lines[documents[number].line - 1 : until])
