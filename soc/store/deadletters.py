"""Dead letters: records that could not be parsed, kept whole with their reason until they are replayed or discarded."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import zstandard

from soc.errors import NotFoundError
from soc.event import Scope
from soc.store.manifest import Manifest

__all__ = ["DeadLetter", "DeadLetters"]

_FIELDS = "id, at, lane, source, agency, origin, import_id, stream, n, reason, detail, state"


_Where = tuple[list[str], list[object]]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter without its raw record; `at` in microseconds since 1970 UTC. States: dead, replaying, replayed, discarded."""

    id: int
    at: int
    lane: str
    source: str
    agency: str
    origin: str
    import_id: str
    stream: str
    n: int
    reason: str
    detail: str
    state: str


class DeadLetters:
    """The dead letters of this node."""

    def __init__(self, manifest: Manifest) -> None:
        self._node = manifest.node

    def list(self, scope: Scope, *, reason: str = "", source: str = "", import_id: str = "", state: str = "dead",
             limit: int = 100, after: int = 0) -> list[DeadLetter]:
        """Newest first; `after` continues below that id. An empty `state` is every state."""
        where, values = self._where(scope, reason, source, import_id, state)
        if after:
            where.append("id < ?")
            values.append(after)
        text = f"SELECT {_FIELDS} FROM dead_letters {'WHERE ' + ' AND '.join(where) if where else ''} ORDER BY id DESC LIMIT ?"
        return [DeadLetter(*row) for row in self._node.rows(text, (*values, limit))]  # type: ignore[arg-type]

    def count(self, scope: Scope, *, reason: str = "", source: str = "", import_id: str = "", state: str = "dead") -> int:
        """How many there are."""
        where, values = self._where(scope, reason, source, import_id, state)
        text = f"SELECT COUNT(*) FROM dead_letters {'WHERE ' + ' AND '.join(where) if where else ''}"
        return int(str(self._node.rows(text, tuple(values))[0][0]))

    def reasons(self, scope: Scope) -> Sequence[tuple[str, str, int]]:
        """(source, reason, count) of what is dead."""
        where, values = self._where(scope, "", "", "", "dead")
        text = f"SELECT source, reason, COUNT(*) FROM dead_letters WHERE {' AND '.join(where)} GROUP BY source, reason ORDER BY 3 DESC"
        return [(str(a), str(b), int(c)) for a, b, c in self._node.rows(text, tuple(values))]  # type: ignore[call-overload]

    def get(self, number: int, scope: Scope) -> DeadLetter:
        """One dead letter. Raises NotFoundError."""
        found = self._node.rows(f"SELECT {_FIELDS} FROM dead_letters WHERE id = ?", (number,))
        letter = DeadLetter(*found[0]) if found else None  # type: ignore[arg-type]
        if letter is None or not scope.allows(letter.agency):
            raise NotFoundError(f"there is no dead letter {number}", remedy="`soc deadletters list` shows them")
        return letter

    def raw(self, number: int, scope: Scope) -> bytes:
        """The record exactly as it came. Raises NotFoundError."""
        self.get(number, scope)
        return zstandard.ZstdDecompressor().decompress(bytes(self._node.rows("SELECT raw FROM dead_letters WHERE id = ?", (number,))[0][0]))  # type: ignore[call-overload]

    def context(self, number: int) -> bytes:
        """The JSON of the frame context it came with."""
        return str(self._node.rows("SELECT context FROM dead_letters WHERE id = ?", (number,))[0][0]).encode()

    def move(self, numbers: Iterable[int], state: str, *, only: Sequence[str] = ("dead",)) -> int:
        """Put letters that are in one of the states `only` into `state`; returns how many moved."""
        moved = 0
        with self._node.write() as c:
            for number in numbers:
                marks = ",".join("?" * len(only))
                moved += c.execute(f"UPDATE dead_letters SET state = ? WHERE id = ? AND state IN ({marks})", (state, number, *only)).rowcount
        return moved

    @staticmethod
    def _where(scope: Scope, reason: str, source: str, import_id: str, state: str) -> _Where:
        where: list[str] = []
        values: list[object] = []
        for column, value in (("reason", reason), ("source", source), ("import_id", import_id), ("state", state)):
            if value:
                where.append(f"{column} = ?")
                values.append(value)
        if scope.agencies is not None:
            where.append(f"agency IN ({','.join('?' * len(scope.agencies)) or 'NULL'})")
            values.extend(sorted(scope.agencies))
        return where, values
