"""A rule as the engine takes it, and as the rule store keeps it: plain data, a boolean tree over atoms.

An atom is a test of one field's value. The tree is an atom's number, or ["!", tree], or ["&" or "|", tree, tree, …].
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

__all__ = ["FORMAT", "KEYWORD_TESTS", "TESTS", "AtomSpec", "CompiledRule", "Detection", "LogSource"]

FORMAT: Final = 2
"""Version of the packed detection; another one is compiled anew from the rule's source."""

TESTS: Final = frozenset({
    "is", "contains", "startswith", "endswith", "like", "any", "re", "cidr", "lt", "lte", "gt", "gte", "null", "exists",
    "fieldref", "fieldref contains", "fieldref startswith", "fieldref endswith",
    *(f"{part}{compared}" for part in ("minute", "hour", "day", "week", "month", "year")
      for compared in ("", " lt", " lte", " gt", " gte"))})
KEYWORD_TESTS: Final = frozenset({"contains", "like", "any", "re", "cidr"})


class AtomSpec(msgspec.Struct, frozen=True, array_like=True):
    """One test. `field` "" searches every value of the event.

    `literal` is plain text for is/contains/startswith/endswith; Sigma's escaped pattern for like; a regular expression
    with its flags in front for re; a network; a number; the other field's name for fieldref; "" for any, null, exists.
    """

    field: str
    test: str
    literal: str
    cased: bool = False


class LogSource(msgspec.Struct, frozen=True, array_like=True):
    """What a rule asks for; "" asks for nothing. Lower case."""

    product: str = ""
    category: str = ""
    service: str = ""

    def matches(self, log_sources: str) -> bool:
        """Whether an event of these space-separated product/category/service triples is meant.

        Category and service may come from two triples of the same product: an event of Sysmon is both
        windows/process_creation/ and windows//sysmon.
        """
        category, service, product = not self.category, not self.service, not self.product
        if category and service and product:
            return False
        for triple in log_sources.split(" "):
            own = triple.split("/")
            if len(own) != 3 or (self.product and own[0] != self.product):
                continue
            product = True
            category = category or own[1] == self.category
            service = service or own[2] == self.service
        return product and category and service


class Detection(msgspec.Struct, array_like=True):
    """A rule's condition: the atoms and the tree over their numbers."""

    atoms: list[AtomSpec]
    tree: Any
    format: int = FORMAT

    def pack(self) -> bytes:
        """As MessagePack."""
        return msgspec.msgpack.encode(self)


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One rule, ready to be matched. `detection` is packed: the engine unpacks it when its log source first occurs.

    `entity` names the field that alerts are kept by; "" for the default order.
    """

    rule_id: str
    version: str
    title: str
    level: str
    tags: tuple[str, ...]
    logsource: LogSource
    detection: bytes
    entity: str = ""

    def unpacked(self) -> Detection:
        """The atoms and tree. Raises ValueError if it is of another format."""
        found = msgspec.msgpack.decode(self.detection, type=Detection)
        if found.format != FORMAT:
            raise ValueError(f"rule {self.rule_id} is compiled for format {found.format}, this is {FORMAT}")
        return found
