"""The console in this process over real databases: two agencies, three people, a few of everything, hostile text in all of it."""
from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient

from alerts.pipeline import AlertPipeline
from alerts.store import AlertStore
from soc.access import passwords
from soc.access.agencies import AgencyStore
from soc.access.audit import Audit
from soc.access.authentication import Authentication
from soc.access.roles import Permission, Role
from soc.access.setup import Setup
from soc.access.sources import SourceStore
from soc.access.tokens import TokenStore
from soc.console.app import create_console
from soc.console.parts import Parts
from soc.console.rulepacks import RulePacks
from soc.console.uploads import Upload, Uploads
from soc.database import ACCESS, STATE, Database, sqlite_url
from soc.demo.centre import Demonstration
from soc.detect.match import Atom, Match
from soc.detect.rulestore import RuleStore
from soc.event import Lane, Origin, Position
from soc.ingest.imports import ImportFile, ImportStore
from soc.ingest.reach import Reach
from soc.secret import Secret
from soc.store.deadletters import DeadLetters
from soc.store.manifest import Manifest
from soc.store.memory import MemoryStore

NOW = 1_760_000_000_000_000
PASSWORD = "ba con voi vàng"
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e{{7*7}}\x1b[31m"
RULE = "11111111-2222-4333-8444-555555555555"
ROLES = (Role.ADMINISTRATOR, Role.ANALYST, Role.VIEWER)

RULE_TEXT = f"""
title: Encoded command {EVIL.encode("ascii", "ignore").decode().replace(chr(27), "").replace("'", "")!r}
id: {RULE}
status: test
level: high
logsource: {{product: windows, category: process_creation}}
detection:
    selection:
        CommandLine|contains: '-enc'
    condition: selection
""".replace("title: Encoded command '", "title: 'Encoded command ")


@dataclass
class ConsoleUnderTest:
    """A running console and what it was given; `ids` name one object of every noun, of agency `north` and `south`."""

    app: FastAPI
    parts: Parts
    databases: list[Any]
    ids: dict[str, dict[str, str]]
    tokens: dict[Role, str]
    replayed: list[int] = field(default_factory=list)
    gateway: dict[str, Any] = field(default_factory=dict)

    def client(self, role: Role | None = None) -> TestClient:
        """A program with the API token of that role; nobody for None."""
        headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role else {}
        return TestClient(self.app, base_url="http://soc.test", headers=headers, follow_redirects=False, raise_server_exceptions=False)

    def browser(self, role: Role) -> tuple[TestClient, str]:
        """A browser logged in as that role, and its CSRF token."""
        client = self.client()
        answer = client.post("/api/v1/session", json={"name": role.value, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return client, answer.json()["csrf"]

    def close(self) -> None:
        """Close the databases."""
        for each in self.databases:
            each.close()


def quick_hashes(monkeypatch: Any) -> None:
    """Hash parameters are tested elsewhere."""
    quick = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", quick)
    monkeypatch.setattr(passwords, "_NOBODY", quick.hash("nobody at all"))


def build(folder: Path, *, users: bool = True, secure: bool = False, health: dict[str, Any] | None = None, centre: str = "SOC") -> ConsoleUnderTest:
    """A console with an object of every noun in each of the agencies north and south. The viewer sees north only."""
    state = Database.open(sqlite_url(folder / "state.db"), STATE)
    access = Database.open(sqlite_url(folder / "access.db"), ACCESS)
    state.migrate()
    access.migrate()
    manifest = Manifest.open(folder)
    doors, agencies, tokens = Authentication(access), AgencyStore(access), TokenStore(access)
    for agency in ("north", "south"):
        agencies.add(agency, agency, actor="test", now=1)
    texts: dict[Role, str] = {}
    if users:
        for role in ROLES:
            user = doors.users.add(role.value, Secret(PASSWORD), [role], ["north"] if role is Role.VIEWER else [], actor="t", now=1)
            _, text = tokens.create(user.id, "test", list(Permission), expires=NOW * 2, actor="t", now=1)
            texts[role] = text.reveal()
    replayed: list[int] = []
    gateway: dict[str, Any] = {}

    def replay(numbers: Sequence[int]) -> int:
        replayed.extend(numbers)
        return len(numbers)

    events = MemoryStore()
    parts = Parts(
        events=events, alerts=AlertStore(state), rules=RuleStore(state), packs=RulePacks(folder, None, state, address="http://127.0.0.1:9/rules.zip"), sources=SourceStore(state), imports=ImportStore(state), uploads=Uploads(folder, None, most=1 << 20, refuse=1.0), seen=manifest.import_seen,
        demonstration=Demonstration(state=state, access=access, manifest=manifest),
        letters=DeadLetters(manifest), agencies=agencies, doors=doors, setup=Setup(access, centre=centre), audit=Audit(access),
        health=lambda: health if health is not None else _health(), replay=replay,
        reach=lambda host: Reach(host or "soc.test", 8081, False, host or "soc.test", 5514, 0), gateway=lambda: gateway,
        now=lambda: NOW, secure=secure)
    ids = {agency: _fill(parts, folder, state, manifest, events, agency, number) for number, agency in enumerate(("north", "south"))}
    _rules(parts, folder)
    return ConsoleUnderTest(create_console(parts), parts, [state, access, manifest], ids, texts, replayed, gateway)


def _fill(parts: Parts, folder: Path, state: Database, manifest: Manifest, events: MemoryStore, agency: str, number: int) -> dict[str, str]:
    digest = f"00000000000000{number:02x}"
    event: dict[str, Any] = {
        "@timestamp": NOW - 1000, "event.created": NOW, "event.ingested": NOW, "event.dataset": EVIL, "host.name": EVIL,
        "message": EVIL, "event.original": EVIL, "user.name": EVIL, "user_agent.original": EVIL, "file.name": EVIL, EVIL: EVIL,
        "organization.id": agency, "soc.stream_hash": digest, "soc.n": 1, "soc.sub": 0, "soc.lane": "live"}
    events.add([event])
    event_id = f"{NOW // 1000:012x}-{digest}-1"
    imported = parts.imports.begin(actor=EVIL[:100], agency=agency, options={}, now=NOW)
    parts.imports.left([ImportFile(imported.id, EVIL, "refused", EVIL)])
    match = Match(
        rule_id=RULE, rule_version="v1", title=EVIL, level="high", tags=(EVIL,), event_id=event_id, event_time=NOW - 1000,
        event=event | {"event.id": event_id}, position=Position(Lane.LIVE, number), agency=agency, origin=Origin.IMPORT,
        import_id=imported.id, entity=EVIL, entity_kind="host", atoms=(Atom(EVIL, "contains", EVIL),))
    with state.write() as connection:
        AlertPipeline().deliver(connection, [match], NOW)
    from soc.event import Scope
    alert = parts.alerts.list(Scope.of([agency])).alerts[0]
    parts.alerts.comment(Scope.everything(), alert.id, EVIL, actor=EVIL, now=NOW)
    parts.uploads._all.append(Upload(f"up-{agency}", EVIL, 1, agency, EVIL, folder / "gone", "failed", imported.id, EVIL, EVIL))
    source, _ = parts.sources.create(f"src-{agency}", agency=agency, now=NOW)
    with manifest.node.write() as connection:
        connection.execute(
            "INSERT INTO dead_letters (at, lane, sequence, source, agency, origin, import_id, stream, n, reason, detail, context, raw)"
            " VALUES (?, 'live', ?, ?, ?, 'live', '', 's', 1, ?, ?, '{}', ?)",
            (NOW, number, EVIL, agency, EVIL, EVIL, zstandard.compress(EVIL.encode() + b"\xff\x00")))
        letter = connection.execute("SELECT MAX(id) FROM dead_letters").fetchone()[0]
    return {
        "alert_id": alert.id, "event_id": event_id, "import_id": imported.id, "source_id": source.id, "upload_id": f"up-{agency}", "number": str(letter),
        "agency_id": agency}


def _rules(parts: Parts, folder: Path) -> None:
    pack = folder / "pack.zip"
    with zipfile.ZipFile(pack, "w") as archive:
        archive.writestr("one.yml", RULE_TEXT)
        archive.writestr("bad.yml", "title: <script>alert(2)</script>\nlogsource: {product: windows}\ndetection: {condition: nothing}\n")
    parts.rules.import_pack(pack, now=NOW)


def _health() -> dict[str, Any]:
    lane = {"received": 3, "normalised": 2, "judged": 1, "waiting": 2, "seconds_behind": 0.5}
    return {
        "status": "warning", "reasons": [EVIL], "at": NOW / 1e6, "lanes": {"live": lane, "bulk": lane}, "roles": {},
        "disk": {"used": 0.5, "warn": 0.8, "refuse": 0.95}, "quarantined": [], "losses": [], "ledger": {"gaps": [], "waiting": 0, "seconds_late": 0.0, "isolated": {}}}
