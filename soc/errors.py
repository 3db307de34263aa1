"""The errors this product raises on purpose. Each says what, where and what to do."""
from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ChangedError", "ConfigError", "DamagedError", "DiskFullError", "DuplicateError", "InputRefused", "LockedError",
    "NotFoundError", "OverlapError", "ParseError", "PermissionDenied", "QueryError", "RuleError",
    "SocError", "StoreError", "TooLargeError",
]


class SocError(Exception):
    """Base of all our errors: `message` for people, `remedy` says what to do about it."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class ConfigError(SocError):
    """Every fault of a configuration at once; `faults` holds one line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults), remedy="")
        self.faults = tuple(faults)


class InputRefused(SocError):
    """Input that cannot be taken at all (nothing of it was stored)."""


class TooLargeError(InputRefused):
    """Input over a cap (HTTP 413)."""


class OverlapError(InputRefused):
    """A batch that partly overlaps what was received; `ranges` are the received (first, last) pairs."""

    def __init__(self, message: str, ranges: Sequence[tuple[int, int]]) -> None:
        super().__init__(message, remedy="cut the batch so that it holds only what is missing")
        self.ranges = tuple(ranges)


class DuplicateError(SocError):
    """Something of that name or key exists already."""


class ChangedError(SocError):
    """What is to be changed is no longer as the caller read it: somebody else was first (HTTP 409)."""


class ParseError(SocError):
    """A record no parser understands: it becomes a dead letter. `reason` is a short constant."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class QueryError(SocError):
    """A search that cannot be read; `column` is where, counted from 1."""

    def __init__(self, message: str, column: int = 0, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.column = column


class RuleError(SocError):
    """A rule that is refused: `path`, `line` (from 1, 0 unknown), reason in `message`."""

    def __init__(self, message: str, *, path: str = "", line: int = 0, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.path = path
        self.line = line

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}: " if self.path and self.line else f"{self.path}: " if self.path else ""
        return place + super().__str__()


class StoreError(SocError):
    """The store could not answer (time or memory limit, missing file)."""


class DamagedError(StoreError):
    """A frame, segment or manifest row that does not check out."""


class DiskFullError(StoreError):
    """The disk guard or the disk itself refuses more (HTTP 503, Retry-After)."""


class LockedError(SocError):
    """Another server holds the data folder."""


class NotFoundError(SocError):
    """No such object within the caller's scope."""


class PermissionDenied(SocError):
    """The caller may not do that."""
