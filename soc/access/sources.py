"""Sources: what may send to the centre, by which token or address, and how what it sends is read.

Every received frame is stamped with its source; the gateway asks here once per request or connection.
"""
from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import JSON, BigInteger, Boolean, Column, Connection, Integer, Row, String, Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from soc.access.agencies import check_slug
from soc.access.audit import escape_controls
from soc.access.credentials import digest_of, new_credential
from soc.access.relay import RelayEdit, RelayRule, check_relay
from soc.database import STATE, Database
from soc.errors import ChangedError, DuplicateError, InputRefused, NotFoundError
from soc.event import UNASSIGNED, Lane, Scope
from soc.secret import Secret

__all__ = ["INGEST_PREFIX", "KINDS", "Source", "SourceStore"]

INGEST_PREFIX = "soci_"
"""What every ingest token begins with."""

KINDS = ("ndjson", "syslog")
"""How a source may send: batches over HTTPS (bound to its token), or syslog (bound to its addresses)."""

_FRESH = 1.0  # seconds a process may go on with what it knows: a revoked token works no longer than that

SOURCES = Table(
    "sources", STATE,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("agency", String(64), nullable=False),
    Column("agencies", JSON, nullable=False),
    Column("format", String(64), nullable=False),
    Column("timezone", String(64), nullable=False),
    Column("year", Integer),
    Column("lane", String(8), nullable=False),
    Column("retention", String(64), nullable=False),
    Column("addresses", JSON, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("created", BigInteger, nullable=False),
    Column("rotated", BigInteger, nullable=False),
    Column("disabled", BigInteger),
    Column("relay", JSON, nullable=False, server_default="[]"),
    Column("relay_version", Integer, nullable=False, server_default="0"),
)
RELAY_EDITS = Table(
    "relay_edits", STATE,
    Column("source", String(64), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("rules", JSON, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(200), nullable=False),
)
_EDITS = 50
"""How many versions of a relay's rules are kept."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Source:
    """One sender. Its records belong to `agency`; `agencies` are those that single records may name instead.

    `addresses` (hosts or CIDR): whom a syslog source is taken from; for ndjson, if not empty, the token
    works from there only. `relay`: rules that give its records to other agencies; `relay_version` counts their
    changes. Times in microseconds since 1970 UTC.
    """

    id: str
    name: str
    kind: str = "ndjson"
    agency: str = UNASSIGNED
    agencies: tuple[str, ...] = ()
    format: str = "auto"
    timezone: str = "Asia/Ho_Chi_Minh"
    year: int | None = None
    lane: Lane = Lane.LIVE
    retention: str = "default"
    addresses: tuple[str, ...] = ()
    enabled: bool = True
    created: int = 0
    rotated: int = 0
    relay: tuple[RelayRule, ...] = ()
    relay_version: int = 0
    networks: tuple[_Network, ...] = field(default=(), repr=False, compare=False)

    @property
    def permitted(self) -> frozenset[str]:
        """The agencies that records of this source may belong to."""
        return frozenset((self.agency, *self.agencies))

    def takes_from(self, address: str) -> bool:
        """Whether it may send from that address; without bound addresses, from anywhere."""
        return not self.networks or _longest_match(self.networks, address) >= 0


@dataclass(frozen=True, slots=True)
class _Known:
    """All sources as last read: what `by_token` and `by_address` answer from."""

    read_at: float
    by_digest: dict[str, Source]
    syslog: tuple[Source, ...]


class SourceStore:
    """The sources in the state database. Thread-safe."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._known: _Known | None = None
        self._lock = threading.Lock()

    def create(
        self, source: str, name: str = "", *, now: int, kind: str = "ndjson", agency: str = UNASSIGNED,
        agencies: Iterable[str] = (), format: str = "auto", timezone: str = "Asia/Ho_Chi_Minh", year: int | None = None,
        lane: Lane = Lane.LIVE, retention: str = "default", addresses: Iterable[str] = (),
    ) -> tuple[Source, Secret]:
        """A new source and its ingest token, which is shown now and never again.

        Raises InputRefused (id, kind, zone, address; syslog without address), DuplicateError (id; an address
        that another syslog source has).
        """
        bound = tuple(_shown(_network(address)) for address in addresses)
        made = Source(
            check_slug(source), name or source, kind, check_slug(agency), tuple(sorted({check_slug(each) for each in agencies})),
            format, timezone, year, lane, check_slug(retention), bound, True, now, now, networks=tuple(map(_network, bound)),
        )
        _check(made)
        token = new_credential(INGEST_PREFIX)
        with self._database.write() as connection:
            others = [_source(row) for row in connection.execute(select(SOURCES).where(SOURCES.c.enabled.is_(True)))]
            _check_addresses_free(made, others)
            try:
                connection.execute(insert(SOURCES).values(
                    id=made.id, name=made.name, kind=kind, agency=agency, agencies=list(made.agencies), format=format,
                    timezone=timezone, year=year, lane=lane.value, retention=retention, addresses=list(bound), enabled=True,
                    token_hash=digest_of(token), created=now, rotated=now,
                ))
            except IntegrityError as error:
                raise DuplicateError(f"there is a source {source!r} already", remedy="take another id, or rotate") from error
        self._forget()
        return made, token

    def list(self, scope: Scope, *, limit: int = 1000, kind: str | None = None, agency: str | None = None) -> Sequence[Source]:
        """The sources whose agency lies within `scope`, by id, disabled ones too."""
        query = select(SOURCES).order_by(SOURCES.c.id).limit(limit)
        if scope.agencies is not None:
            query = query.where(SOURCES.c.agency.in_(scope.agencies))
        if kind is not None:
            query = query.where(SOURCES.c.kind == kind)
        if agency is not None:
            query = query.where(SOURCES.c.agency == agency)
        with self._database.read() as connection:
            return [_source(row) for row in connection.execute(query)]

    def get(self, source: str, scope: Scope) -> Source:
        """One source. Raises NotFoundError if there is none within `scope`."""
        with self._database.read() as connection:
            return _source(self._row(connection, source, scope))

    def by_token(self, token: Secret | str) -> Source | None:
        """The enabled source of that ingest token; at most a second behind the database."""
        return self._now_known().by_digest.get(digest_of(token))

    def by_address(self, address: str) -> Source | None:
        """The enabled syslog source bound to that address, the narrowest network first."""
        best, found = -1, None
        for source in self._now_known().syslog:
            length = _longest_match(source.networks, address)
            if length > best:
                best, found = length, source
        return found

    def rotate(self, source: str, scope: Scope, *, now: int) -> Secret:
        """A fresh token for a source; the old one is worthless. Raises NotFoundError."""
        token = new_credential(INGEST_PREFIX)
        self._change(source, scope, token_hash=digest_of(token), rotated=now)
        return token

    def disable(self, source: str, scope: Scope, *, now: int) -> None:
        """Take nothing more from a source. Raises NotFoundError."""
        self._change(source, scope, enabled=False, disabled=now)

    def enable(self, source: str, scope: Scope) -> None:
        """Take from a disabled source again, under the token it had. Raises NotFoundError, DuplicateError (addresses)."""
        wanted = self.get(source, scope)
        _check_addresses_free(wanted, [other for other in self.list(Scope.everything()) if other.enabled and other.id != source])
        self._change(source, scope, enabled=True, disabled=None)

    def split(
        self, source: str, scope: Scope, rules: Sequence[RelayRule], *, now: int, by: str, version: int | None = None,
    ) -> Source:
        """Give a syslog source's records to agencies by these rules, in place of those it had; what came before stays as it is.

        `version`: of the rules that the caller read. Raises ChangedError if they are others by now (None: whatever they
        are), NotFoundError, InputRefused (a rule that is none, a source of another kind).
        """
        kept = check_relay(rules)
        with self._database.write() as connection:
            was = self._row(connection, source, scope)
            if was.kind != "syslog" and kept:
                raise InputRefused(f"{escape_controls(source[:64])} is no syslog source",
                                   remedy="only what comes by syslog is split; give each sender its token")
            if version is not None and version != was.relay_version:
                raise ChangedError(f"the rules were changed meanwhile: they are at version {was.relay_version}, not {version}",
                                   remedy="read them again and repeat the change")
            of_source, new = RELAY_EDITS.c.source == source, was.relay_version + 1
            if connection.execute(select(RELAY_EDITS.c.version).where(of_source).limit(1)).first() is None:
                connection.execute(insert(RELAY_EDITS).values(
                    source=source, version=was.relay_version, rules=was.relay, at=was.created, actor=""))
            written = [{"agency": rule.agency, "host": rule.host, "address": rule.address} for rule in kept]
            connection.execute(insert(RELAY_EDITS).values(source=source, version=new, rules=written, at=now, actor=escape_controls(by)[:200]))
            connection.execute(delete(RELAY_EDITS).where(of_source, RELAY_EDITS.c.version <= new - _EDITS))
            connection.execute(update(SOURCES).where(SOURCES.c.id == source).values(relay=written, relay_version=new))
        self._forget()
        return self.get(source, scope)

    def relay_edits(self, source: str, scope: Scope) -> Sequence[RelayEdit]:
        """The versions of a source's rules that are kept, the present one first. Raises NotFoundError."""
        query = select(RELAY_EDITS).where(RELAY_EDITS.c.source == source).order_by(RELAY_EDITS.c.version.desc())
        with self._database.read() as connection:
            self._row(connection, source, scope)
            return [RelayEdit(row.version, tuple(RelayRule(**rule) for rule in row.rules), row.at, row.actor)
                    for row in connection.execute(query)]

    def relay_edit(self, source: str, scope: Scope, version: int) -> RelayEdit:
        """One of them. Raises NotFoundError."""
        found = next((edit for edit in self.relay_edits(source, scope) if edit.version == version), None)
        if found is None:
            raise NotFoundError(f"version {version} of the rules is not kept", remedy=f"the last {_EDITS} are: soc source relay history")
        return found

    def _change(self, source: str, scope: Scope, **values: object) -> None:
        query = update(SOURCES).where(SOURCES.c.id == source).values(**values)
        if scope.agencies is not None:
            query = query.where(SOURCES.c.agency.in_(scope.agencies))
        with self._database.write() as connection:
            if not connection.execute(query).rowcount:
                raise _unknown(source)
        self._forget()

    @staticmethod
    def _row(connection: Connection, source: str, scope: Scope) -> Row[Any]:
        row = connection.execute(select(SOURCES).where(SOURCES.c.id == source)).first()
        if row is None or (scope.agencies is not None and row.agency not in scope.agencies):
            raise _unknown(source)
        return row

    def _forget(self) -> None:
        self._known = None

    def _now_known(self) -> _Known:
        known = self._known
        if known is not None and self._clock() - known.read_at < _FRESH:
            return known
        with self._lock:
            known = self._known
            if known is None or self._clock() - known.read_at >= _FRESH:
                read_at = self._clock()
                with self._database.read() as connection:
                    rows = connection.execute(select(SOURCES).where(SOURCES.c.enabled.is_(True))).all()
                sources = {row.token_hash: _source(row) for row in rows}
                known = _Known(read_at, sources, tuple(source for source in sources.values() if source.kind == "syslog"))
                self._known = known
        return known


def _check(source: Source) -> None:
    if source.kind not in KINDS:
        raise InputRefused(f"no kind of source {source.kind!r}", remedy=f"one of {', '.join(KINDS)}")
    if source.kind == "syslog" and not source.addresses:
        raise InputRefused("a syslog source is known by its address", remedy="give --address, e.g. 10.1.2.3 or 10.1.2.0/24")
    if len(source.name) > 200 or escape_controls(source.name) != source.name:
        raise InputRefused("a source's name has at most 200 visible characters")
    if not source.format or len(source.format) > 64 or not source.format.isprintable():
        raise InputRefused("a source's format is a parser's name or auto")
    if source.year is not None and not 1970 <= source.year <= 2200:
        raise InputRefused(f"{source.year} is no year a log can be from")
    try:
        ZoneInfo(source.timezone)
    except (KeyError, ValueError, OSError) as error:
        raise InputRefused(f"no time zone {source.timezone[:64]!r}", remedy="an IANA name such as Asia/Ho_Chi_Minh") from error


def _check_addresses_free(made: Source, others: Iterable[Source]) -> None:
    if made.kind != "syslog":
        return
    for other in others:
        taken = set(made.addresses) & set(other.addresses) if other.kind == "syslog" else set()
        if taken:
            raise DuplicateError(f"{min(taken)} belongs to the syslog source {other.id!r} already")


def _network(address: str) -> _Network:
    try:
        network = ipaddress.ip_network(address.strip(), strict=False)
    except ValueError as error:
        raise InputRefused(f"not an address: {address[:64]!r}", remedy="a host or CIDR such as 10.1.2.0/24") from error
    return network


def _shown(network: _Network) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _longest_match(networks: Iterable[_Network], address: str) -> int:
    """The prefix length of the narrowest network that holds the address, -1 for none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return -1
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return max((network.prefixlen for network in networks if parsed in network), default=-1)


def _source(row: Row[Any]) -> Source:
    addresses = tuple(row.addresses)
    return Source(
        row.id, row.name, row.kind, row.agency, tuple(row.agencies), row.format, row.timezone, row.year, Lane(row.lane),
        row.retention, addresses, row.enabled, row.created, row.rotated, tuple(RelayRule(**rule) for rule in row.relay),
        row.relay_version, tuple(map(_network, addresses)),
    )


def _unknown(source: str) -> NotFoundError:
    return NotFoundError(f"no source {escape_controls(source[:64])!r}", remedy="`soc source list` shows them")
