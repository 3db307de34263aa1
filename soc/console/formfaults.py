"""What is wrong with a request that does not fit its model: where, what, and so what to give instead; in words of `messages/`."""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from soc.console.language import Translate

__all__ = ["FormFault", "form_faults"]

_MOST = 20
_KINDS = {
    "missing": "missing", "extra_forbidden": "unknown", "literal_error": "choice", "enum": "choice", "bool_parsing": "boolean",
    "bool_type": "boolean", "string_type": "text", "greater_than_equal": "least", "greater_than": "above", "less_than_equal": "most",
    "less_than": "below", "string_too_long": "long", "string_too_short": "short", "too_long": "many", "too_short": "few",
    "timezone_aware": "time", "json_invalid": "json", "list_type": "list", "model_attributes_type": "object", "dict_type": "object",
    "model_type": "object",
}
"""pydantic's type of an error → our message `fault.…` (https://docs.pydantic.dev/latest/errors/validation_errors/)."""
_STARTS = {"int_": "integer", "float_": "number", "datetime_": "time"}
_CHOICES = re.compile(r"'([^']*)'")


@dataclass(frozen=True, slots=True)
class FormFault:
    """One fault: `part` is query, path, header or body; `name` the field in it, "" for the whole."""

    part: str
    name: str
    key: str
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Its place as programs name it, e.g. query.level."""
        return f"{self.part}.{self.name}" if self.name else self.part

    def what(self, say: Translate) -> str:
        """What is wrong, in the language of `say`."""
        return say(self.key, **self.values)

    def label(self, say: Translate) -> str:
        """What the form calls the field, if anything, else its name."""
        shown = say(f"field.{self.name}")
        return self.name if shown == f"field.{self.name}" else shown


def form_faults(errors: Sequence[Mapping[str, Any]]) -> list[FormFault]:
    """The faults that pydantic reports, the first 20. None of them repeats the value: it may be a password."""
    return [_fault(error) for error in errors[:_MOST]]


def _fault(error: Mapping[str, Any]) -> FormFault:
    part, *names = map(str, error["loc"]) if error["loc"] else ("body",)
    kind, context = str(error["type"]), error.get("ctx") or {}
    name = next((ours for start, ours in _STARTS.items() if kind.startswith(start)), _KINDS.get(kind, "other"))
    values = {key: value for key, value in context.items() if isinstance(value, int | float | str)}
    if name == "choice":
        values = {"expected": ", ".join(one for one in _CHOICES.findall(str(context.get("expected", ""))) if one)}
    elif name == "other":
        values = {"said": str(error["msg"])[:300]}
    elif name == "json":
        names = []
    return FormFault(part[:20], ".".join(names)[:200], f"fault.{name}", values)
