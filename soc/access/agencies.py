"""The agencies being watched: a tree valid in time, so that a reorganisation does not rewrite the past.

An agency's place is kept as intervals; `AgencyTree` is the tree at one moment, a plain value.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, Index, String, Table, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from soc.access.audit import Audit, escape_controls
from soc.database import ACCESS, SERIAL, Database
from soc.errors import DuplicateError, InputRefused, NotFoundError
from soc.event import UNASSIGNED, Scope

__all__ = ["Agency", "AgencyStore", "AgencyTree", "Ancestors", "check_slug"]

AGENCIES = Table(
    "agencies", ACCESS,
    Column("id", String(64), primary_key=True),
    Column("name_vi", String(200), nullable=False),
    Column("name_en", String(200), nullable=False),
    Column("valid_from", BigInteger, nullable=False),
    Column("valid_to", BigInteger),
)
AGENCY_PLACES = Table(
    "agency_places", ACCESS,
    Column("id", SERIAL, primary_key=True),
    Column("agency", String(64), nullable=False),
    Column("parent", String(64)),
    Column("valid_from", BigInteger, nullable=False),
    Column("valid_to", BigInteger),
    Index("ix_agency_places_agency", "agency"),
)

_DAY = 86_400 * 1_000_000
_TREES_FOR = 30.0
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Agency:
    """An agency as it stood at one moment; times in microseconds since 1970 UTC, `valid_to` exclusive."""

    id: str
    name_vi: str
    name_en: str
    parent: str | None
    valid_from: int
    valid_to: int | None = None


class AgencyTree:
    """Who stood under whom at one moment."""

    def __init__(self, parents: Mapping[str, str | None]) -> None:
        self._parents = dict(parents)

    def __contains__(self, agency: object) -> bool:
        return agency in self._parents

    @property
    def agencies(self) -> frozenset[str]:
        """All of them."""
        return frozenset(self._parents)

    def ancestors(self, agency: str) -> list[str]:
        """The agency itself, then its parent, up to its root. Unknown agencies have only themselves."""
        path: list[str] = []
        step: str | None = agency
        while step is not None and step not in path:
            path.append(step)
            step = self._parents.get(step)
        return path

    def subtree(self, agencies: Iterable[str]) -> frozenset[str]:
        """These agencies and all that stand under them."""
        tops = frozenset(agencies)
        return tops | {each for each in self._parents if not tops.isdisjoint(self.ancestors(each))}

    def lowest_common_ancestor(self, agencies: Iterable[str]) -> str:
        """The nearest agency that all of these belong to; `unassigned` where there is none."""
        paths = [self.ancestors(agency) for agency in agencies]
        if not paths:
            return UNASSIGNED
        shared = frozenset(paths[0]).intersection(*paths[1:])
        return next((agency for agency in paths[0] if agency in shared), UNASSIGNED)


class AgencyStore:
    """The agencies in the access database. Every change is audited in its own transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._audit = Audit(database)

    def add(
        self, agency: str, name_vi: str, name_en: str = "", *, parent: str | None = None, actor: str, now: int,
        valid_from: int | None = None,
    ) -> Agency:
        """A new agency, valid from `valid_from` (else `now`).

        Raises InputRefused for an id that is no slug, NotFoundError for an unknown parent, DuplicateError.
        """
        check_slug(agency)
        starts = now if valid_from is None else valid_from
        made = Agency(agency, _name(name_vi), _name(name_en or name_vi), parent, starts)
        with self._database.write() as connection:
            _check_parent(connection, parent)
            try:
                connection.execute(insert(AGENCIES).values(
                    id=agency, name_vi=made.name_vi, name_en=made.name_en, valid_from=starts, valid_to=None,
                ))
            except IntegrityError as error:
                raise DuplicateError(f"there is an agency {agency!r} already") from error
            connection.execute(insert(AGENCY_PLACES).values(agency=agency, parent=parent, valid_from=starts, valid_to=None))
            self._audit.record(actor, "agency.add", agency, {"parent": parent, "name": name_vi}, now=now, connection=connection)
        return made

    def rename(self, agency: str, name_vi: str, name_en: str = "", *, actor: str, now: int) -> None:
        """Give an agency other names. Raises NotFoundError, InputRefused for `unassigned`."""
        _check_own(agency)
        values = {"name_vi": _name(name_vi)} | ({"name_en": _name(name_en)} if name_en else {})
        with self._database.write() as connection:
            _check_known(connection, agency)
            connection.execute(update(AGENCIES).where(AGENCIES.c.id == agency).values(**values))
            self._audit.record(actor, "agency.rename", agency, values, now=now, connection=connection)

    def move(self, agency: str, parent: str | None, *, actor: str, now: int) -> None:
        """Put an agency (with all under it) under another from `now` on; before `now` the tree stays as it was.

        Raises NotFoundError, and InputRefused if it would come to stand under itself.
        """
        _check_own(agency)
        with self._database.write() as connection:
            _check_known(connection, agency)
            _check_parent(connection, parent)
            if parent is not None and agency in _tree(connection, now).ancestors(parent):
                raise InputRefused(f"{agency!r} cannot stand under {parent!r}, which stands under it")
            place = AGENCY_PLACES.c
            connection.execute(
                update(AGENCY_PLACES).where(place.agency == agency, place.valid_to.is_(None)).values(valid_to=now),
            )
            connection.execute(insert(AGENCY_PLACES).values(agency=agency, parent=parent, valid_from=now, valid_to=None))
            self._audit.record(actor, "agency.move", agency, {"parent": parent}, now=now, connection=connection)

    def close(self, agency: str, *, actor: str, now: int) -> None:
        """End an agency from `now` on. It keeps its last place, so that its past stays in its parent's scope."""
        _check_own(agency)
        with self._database.write() as connection:
            _check_known(connection, agency)
            connection.execute(update(AGENCIES).where(AGENCIES.c.id == agency).values(valid_to=now))
            self._audit.record(actor, "agency.close", agency, now=now, connection=connection)

    def remove(self, agency: str, *, actor: str, now: int) -> None:
        """Take an agency away as if it had never been: for those that were only invented. Raises NotFoundError.

        Raises InputRefused for one that others stand or stood under.
        """
        _check_own(agency)
        with self._database.write() as connection:
            _check_known(connection, agency)
            if connection.execute(select(AGENCY_PLACES.c.id).where(AGENCY_PLACES.c.parent == agency)).first() is not None:
                raise InputRefused(f"others stand under {agency!r}", remedy="move them first, or close it")
            connection.execute(delete(AGENCY_PLACES).where(AGENCY_PLACES.c.agency == agency))
            connection.execute(delete(AGENCIES).where(AGENCIES.c.id == agency))
            self._audit.record(actor, "agency.remove", agency, now=now, connection=connection)

    def list(self, scope: Scope, *, at: int, closed: bool = False) -> Sequence[Agency]:
        """The agencies within `scope` as they stood at `at`, by id; with `closed`, those ended by then too."""
        with self._database.read() as connection:
            rows = connection.execute(select(AGENCIES).order_by(AGENCIES.c.id)).all()
            parents = _places(connection, at)
        return [
            Agency(r.id, r.name_vi, r.name_en, parents.get(r.id), r.valid_from, r.valid_to)
            for r in rows
            if _within(scope, r.id) and r.valid_from <= at and (closed or r.valid_to is None or at < r.valid_to)
        ]

    def get(self, agency: str, scope: Scope, *, at: int) -> Agency:
        """One agency, closed or not. Raises NotFoundError if there is none within `scope`."""
        for found in self.list(scope, at=at, closed=True):
            if found.id == agency:
                return found
        raise NotFoundError(f"no agency {agency!r}", remedy="`soc agency list` shows them")

    def tree(self, at: int) -> AgencyTree:
        """The tree as it stood at `at`; closed agencies stay at their last place."""
        with self._database.read() as connection:
            return _tree(connection, at)

    def lowest_common_ancestor(self, agencies: Iterable[str], *, at: int) -> str:
        """The nearest agency that all of these belonged to at `at`; `unassigned` where there is none."""
        return self.tree(at).lowest_common_ancestor(agencies)


class Ancestors:
    """Lowest common ancestors, asked often: by the tree as it stands at the end of that day (UTC), read again every half minute."""

    def __init__(self, database: Database, monotonic: Callable[[], float]) -> None:
        self._store, self._monotonic = AgencyStore(database), monotonic
        self._trees: dict[int, AgencyTree] = {}
        self._read = 0.0

    def __call__(self, agencies: Iterable[str], at: int) -> str:
        """The nearest agency that all of these belong to, µs UTC; `unassigned` where there is none."""
        found = set(agencies)
        if len(found) == 1:
            return found.pop()
        if self._monotonic() - self._read > _TREES_FOR or len(self._trees) > 1000:
            self._trees, self._read = {}, self._monotonic()
        end = (at // _DAY + 1) * _DAY
        if end not in self._trees:
            self._trees[end] = self._store.tree(end)
        return self._trees[end].lowest_common_ancestor(sorted(found))


def check_slug(text: str) -> str:
    """`text` if it can be an id: a-z, 0-9, dot, dash, underscore, up to 64. Raises InputRefused."""
    if not _SLUG.fullmatch(text):
        raise InputRefused(
            f"{escape_controls(text[:80])!r} cannot be an id",
            remedy="use a-z, 0-9, '.', '-' and '_', at most 64, e.g. so-tai-chinh",
        )
    return text


def _within(scope: Scope, agency: str) -> bool:
    return scope.agencies is None or agency in scope.agencies


def _tree(connection: Connection, at: int) -> AgencyTree:
    known = connection.execute(select(AGENCIES.c.id).where(AGENCIES.c.valid_from <= at)).scalars()
    places = _places(connection, at)
    return AgencyTree({agency: places.get(agency) for agency in known})


def _places(connection: Connection, at: int) -> dict[str, str | None]:
    place = AGENCY_PLACES.c
    rows = connection.execute(
        select(place.agency, place.parent)
        .where(and_(place.valid_from <= at, or_(place.valid_to.is_(None), place.valid_to > at))),
    )
    return {row.agency: row.parent for row in rows}


def _check_known(connection: Connection, agency: str) -> None:
    if connection.execute(select(AGENCIES.c.id).where(AGENCIES.c.id == agency)).first() is None:
        raise NotFoundError(f"no agency {agency!r}", remedy="`soc agency list` shows them")


def _check_parent(connection: Connection, parent: str | None) -> None:
    if parent is None:
        return
    if parent == UNASSIGNED:
        raise InputRefused(f"nothing stands under {UNASSIGNED!r}")
    row = connection.execute(select(AGENCIES.c.valid_to).where(AGENCIES.c.id == parent)).first()
    if row is None or row.valid_to is not None:
        raise NotFoundError(f"no agency {parent!r} to stand under", remedy="add the parent first")


def _check_own(agency: str) -> None:
    if agency == UNASSIGNED:
        raise InputRefused(f"{UNASSIGNED!r} is the centre's own and stays as it is")


def _name(text: str) -> str:
    name = " ".join(text.split())
    if not name or len(name) > 200 or escape_controls(name) != name:
        raise InputRefused("an agency's name has 1 to 200 visible characters")
    return name
