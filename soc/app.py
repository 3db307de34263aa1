"""The composition root: read this first. It builds every part and runs them; nothing else constructs.

The way of a record, top to bottom: `run_gateway` acknowledges what the journal holds · `run_normaliser` parses journal
frames into cuts, compacts and expires them · `run_detector` judges cuts and writes alerts · `run_console` shows them.
`soc serve` supervises one process per role; `running_centre` runs the first three for a command that needs them.
Beside it: `opening` makes a data folder ready, `processes` names what runs, `role` is what they have in common, `supervisor` keeps them running.
"""
from __future__ import annotations

import argparse
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from soc.config import Config
from soc.event import Lane
from soc.logs import start_logging
from soc.opening import now_micros, open_databases, prepare
from soc.processes import DEMONSTRATION, ROLES, arguments, detectors, guards, processes
from soc.role import Role
from soc.supervisor import Relief, Supervisor, die_with_parent, give_back_memory

__all__ = ["main", "running_centre"]

_log = logging.getLogger(__name__)
_GAPS = 1.0
"""Seconds between looks at gaps and rules that stand aside; each has its own, growing pause in the ledger."""
_KEEPING = {"compact": 2.0, "sweep": 10.0, "retention": 600.0}
"""Jobs behind the detector and the seconds between their runs."""


# ---- the roles


def run_normaliser(role: Role) -> None:
    """Journal → cuts, with the compactor, the sweeper and retention in a thread beside it."""
    from soc.errors import StoreError
    from soc.journalsource import JournalSource
    from soc.normalise.loop import Normaliser, NormaliserLimits
    from soc.normalise.records import Parsers
    from soc.store.disk import RealDisk
    from soc.store.manifest import Manifest

    disk = RealDisk()
    config = role.config.normaliser
    normaliser = Normaliser(
        data=role.data, disk=disk, manifest=Manifest.open(role.data), source=JournalSource(role.data, disk), parser=Parsers(),
        centre=role.folder.centre, limits=NormaliserLimits(live_records=config.cut_records, bulk_records=config.bulk_records,
                                                            live_share=config.live_share))
    normaliser.clean()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)  # records make no cycles: 4 % of the normaliser's time went to looking for them
    keeper = threading.Thread(target=_keep_store, args=(role,), name="compactor", daemon=True)
    keeper.start()
    fault = ""
    relief = Relief()
    rest = 0.0  # until when live records gather: a cut of a few costs as much as one of thousands
    while not role.stopping.is_set():
        began = time.monotonic()
        try:
            took = normaliser.step(now_micros, live=began >= rest)
            fault = ""
            relief.after(took > 0)
        except (StoreError, OSError) as error:  # a full disk, a failing one: nothing is lost, the journal keeps it; say so and try again
            took, fault = 0, str(error)
        role.beat(events=normaliser.events, fault=fault)
        if took >= 2_000 or (took and normaliser.full):
            continue
        if took and normaliser.lane is Lane.LIVE:
            rest = began + config.cut_interval
        else:
            pause = config.cut_interval if took else min(0.25, rest - began) if rest > began else 0.25
            role.stopping.wait(max(0.05, pause - (time.monotonic() - began)))
    keeper.join(timeout=5)


def _keep_store(role: Role) -> None:
    """Compaction in tiers behind the detector, the sweeper every 10 s, retention every 10 min."""
    from soc.detect.ledger import Ledger
    from soc.detect.schedule import Schedule
    from soc.errors import SocError
    from soc.store.compact import CompactionLimits, Compactor
    from soc.store.disk import RealDisk
    from soc.store.manifest import Manifest
    from soc.store.retention import expire
    from soc.store.tokens import blocks

    state, _ = open_databases(role.data, role.config)
    ledger, manifest, config = Ledger(state), Manifest.open(role.data), role.config
    compactor = Compactor(
        data=role.data, disk=RealDisk(), manifest=manifest, passed=ledger.positions, index=blocks, breathe=give_back_memory,
        limits=CompactionLimits(cut_age=int(config.compaction.minute * 1e6), hour_age=int(config.compaction.hour * 1e6),
                                grace=int(config.compaction.grace * 1e6)))
    cleaned = False
    due: set[str] = set()
    with Schedule(_KEEPING) as schedule:
        while not role.stopping.is_set():
            due |= schedule.due()
            busy = 0
            try:
                if not cleaned:
                    compactor.clean()
                    cleaned = True
                busy = compactor.step(now_micros())
                if busy:
                    give_back_memory()
                if "sweep" in due:
                    compactor.sweep(now_micros())
                    due.discard("sweep")
                if "retention" in due:
                    expire(manifest, config.retention.classes, config.retention.default, now_micros(), ledger.expiring(now_micros))
                    due.discard("retention")
            except (SocError, OSError) as fault:  # tried again, and what is due stays due; the events are where they were
                cleaned = False  # a half-written file may lie about
                _log.warning("compaction failed; it is tried again", extra={"fault": str(fault)})
                role.stopping.wait(5)
            if busy:
                role.stopping.wait(0.05)
            else:
                due |= schedule.wait()


def run_detector(role: Role) -> None:
    """Cuts → alerts."""
    from alerts.pipeline import AlertPipeline
    from soc.access.agencies import Ancestors
    from soc.detect.claims import Claims
    from soc.detect.correlation.correlator import Correlator
    from soc.detect.engine import CompiledRule, Engine
    from soc.detect.lists import kept_folders
    from soc.detect.loop import Detector, Matcher
    from soc.detect.pipelines import Pipelines
    from soc.detect.rulestore import RuleStore, entity_by_default, entity_of
    from soc.detect.schedule import Schedule
    from soc.detect.watch import Watch, take_verdict
    from soc.errors import SocError
    from soc.ingest.imports import undone_among
    from soc.store.manifest import Manifest

    state, access = open_databases(role.data, role.config)
    lists, mappings = kept_folders(role.config, role.data)
    rules = RuleStore(state, lists)

    def with_mappings(rules: Sequence[CompiledRule], previous: Matcher | None = None) -> Matcher:
        mapping, faults = Pipelines.load(mappings)
        for error in faults:
            _log.error("field mapping left out", extra={"file": error.path, "line": error.line, "reason": error.message})
        return Engine(rules, mapping=mapping, previous=previous if isinstance(previous, Engine) else None)

    sink = Correlator(AlertPipeline(), version=rules.version, load=rules.load, ancestor=Ancestors(access, time.monotonic),
                      fallback=entity_by_default)
    detector = Detector(
        data=role.data, manifest=Manifest.open(role.data), database=state, rules=rules, engine=with_mappings,
        entity=entity_of, sink=sink, undone=undone_among, live_share=role.config.detector.live_share,
        claims=Claims(role.data / "run") if role.config.detector.processes > 1 else None, watch=Watch(role.data / "run", role.name))
    relief = Relief()
    fault = ""
    with Schedule({"judge": role.config.detector.poll, "gaps": _GAPS}) as schedule:
        due = schedule.wait()
        while not role.stopping.is_set():
            if verdict := take_verdict(role.data / "run", *detectors(role.config)):  # whoever of us was killed: I am free to find the guilty rule
                detector.hear(verdict)
            try:
                took = detector.step(now_micros, fill="gaps" in due)
                relief.after(took > 0)
                fault = ""
            except SocError as error:  # the cursor stands where it stood: nothing is skipped
                took, fault = 0, str(error)
            role.beat(events=detector.events, matches=detector.matches, filled=detector.filled, rules=detector.rules, fault=fault)
            if took:
                due |= schedule.due()  # what came due stays so until nothing waits
                continue
            if fault:
                role.stopping.wait(1.0)
            due = schedule.wait()


def run_gateway(role: Role, *, listen: bool) -> None:
    """The receivers in front of the journal: HTTP and syslog if `listen`, the local socket always."""
    import asyncio
    import pwd

    import uvloop

    from soc.access.audit import Audit
    from soc.access.sources import SourceStore
    from soc.errors import NotFoundError
    from soc.event import Scope
    from soc.ingest.accounting import Accounting, read_heartbeat
    from soc.ingest.intake import DurableIntake, IntakeLimits
    from soc.ingest.request import GatewayLimits
    from soc.ingest.serve import Listen, serve_gateway
    from soc.ingest.syslogbatches import SyslogLimits
    from soc.ingest.unpack import Bounds
    from soc.store.disk import RealDisk
    from soc.store.node import NodeDatabase
    from soc.tls import tls_for

    config = role.config
    state, access = open_databases(role.data, config)
    sources, book, node = SourceStore(state), Audit(access), NodeDatabase(role.data / "node.db")

    def audit(uid: int, action: str, facts: Any) -> None:
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = str(uid)
        book.record(f"local:{name}", action, str(facts.get("import", "")), dict(facts), now=now_micros())

    def default_source() -> Any:
        try:
            return sources.get(config.syslog.default_source, Scope.everything())
        except NotFoundError:
            return None

    def listen_on(host: str, port: int, what: str) -> Listen:
        files = tls_for(config, role.data, host, what)
        return Listen(host, port, files.certificate if files else None, files.key if files else None)

    def syslog_tls() -> Listen | None:
        """Where TLS is listened to: nowhere without certificates, which only those need who take nothing unencrypted."""
        files = tls_for(config, role.data, "127.0.0.1" if config.syslog.plain else config.syslog.host, "syslog")
        return Listen(config.syslog.host, config.syslog.tls_port, files.certificate, files.key) if files else None

    async def run() -> None:
        intake = DurableIntake(role.data, RealDisk(), node, IntakeLimits(
            file_size=config.journal.file_size, pending=config.journal.max_backlog,
            backlog=config.journal.max_unread, warn=config.disk.warn, refuse=config.disk.refuse))
        await intake.start()
        stop, accounting = asyncio.Event(), Accounting(time.time, role.folder.centre)
        accounting.resume(read_heartbeat(role.data / "run" / "gateway.json"))

        async def watch() -> None:
            while not role.stopping.is_set():
                role.beat(**{**accounting.shown(), "disk": intake.disk_used(), "backlog": intake.waiting(),
                             "damaged": [str(d) for _, d in intake.damaged]})
                await asyncio.sleep(0.1)
            stop.set()

        watcher = asyncio.create_task(watch())
        try:
            await serve_gateway(
                intake, sources, stop=stop, accounting=accounting, node=role.folder.centre, audit=audit,
                http=listen_on(config.gateway.host, config.gateway.port, "gateway") if listen else None,
                local=role.data / "run" / "gateway.sock",
                syslog=Listen(config.syslog.host, config.syslog.port) if listen and config.syslog.enabled and config.syslog.plain else None,
                syslog_tls=syslog_tls() if listen and config.syslog.enabled else None,
                syslog_default=default_source,
                limits=GatewayLimits(body=config.gateway.max_body, buffered=config.gateway.max_buffered,
                                     deadline=config.gateway.deadline, connections=config.gateway.max_connections,
                                     bounds=Bounds(unpacked=config.gateway.max_unpacked, records=config.gateway.max_records)),
                syslog_limits=SyslogLimits(message=config.syslog.max_message, connections=config.syslog.max_connections),
                stored=lambda lane: int(node.rows("SELECT COALESCE(MAX(sequence), 0) FROM positions WHERE consumer = 'normaliser' AND lane = ?",
                                                  (lane.value,))[0][0]),  # type: ignore[call-overload]
                timezone=config.centre.timezone)
        finally:
            role.stopping.set()
            await watcher
            await intake.stop()

    uvloop.run(run())


def run_console(role: Role, config_file: Path | None) -> None:
    """The API and the pages."""
    from contextlib import closing

    import uvicorn

    from alerts.store import AlertStore
    from soc.access.agencies import AgencyStore
    from soc.access.audit import Audit
    from soc.access.authentication import Authentication
    from soc.access.setup import Setup
    from soc.access.sources import SourceStore
    from soc.console.app import create_console
    from soc.console.connections import bounded_http
    from soc.console.parts import Parts
    from soc.console.rulepacks import RulePacks
    from soc.console.uploads import Uploads
    from soc.demo.centre import Demonstration
    from soc.detect.ledger import Ledger
    from soc.detect.lists import kept_folders
    from soc.detect.rulestore import RuleStore
    from soc.health import Health
    from soc.ingest.accounting import read_heartbeat
    from soc.ingest.deliver import GatewayClient
    from soc.ingest.imports import ImportStore
    from soc.ingest.reach import reach_of
    from soc.ingest.replay import replay
    from soc.store.deadletters import DeadLetters
    from soc.store.embedded import EmbeddedStore
    from soc.store.manifest import Manifest
    from soc.tls import tls_for

    config = role.config
    state, access = open_databases(role.data, config)
    letters = DeadLetters(Manifest.open(role.data))
    tls = tls_for(config, role.data, config.console.host, "console")

    def send_again(numbers: Sequence[int]) -> int:
        with closing(GatewayClient(role.data / "run" / "gateway.sock", patience=10.0)) as client:
            return replay(letters, numbers, client)

    events = EmbeddedStore(role.data, Manifest.open(role.data), memory_limit=f"{config.store.memory_limit >> 20}MB",
                           threads=config.store.threads, timeout=config.store.query_timeout)
    demonstration = Demonstration(state=state, access=access, manifest=Manifest.open(role.data),
                                  gateway=lambda: GatewayClient(role.data / "run" / "gateway.sock", patience=10.0))
    app = create_console(Parts(
        events=events,
        alerts=AlertStore(state), rules=RuleStore(state, kept_folders(config, role.data)[0]), sources=SourceStore(state),
        packs=RulePacks(role.data, config_file, state, address=config.rules.release_url, sha256=config.rules.release_sha256),
        imports=ImportStore(state), uploads=Uploads(role.data, config_file, most=config.console.upload, refuse=config.disk.refuse),
        seen=Manifest.open(role.data).import_seen, demonstration=demonstration, letters=letters,
        agencies=AgencyStore(access), doors=Authentication(
            access, session=int(config.console.session * 1e6), idle=int(config.console.idle * 1e6), centre=config.centre.name),
        setup=Setup(access, centre=config.centre.name),
        audit=Audit(access), health=Health(data=role.data, config=config, manifest=Manifest.open(role.data), ledger=Ledger(state)).report,
        replay=send_again, now=now_micros, name=config.centre.name, language=config.centre.language, timezone=config.centre.timezone,
        secure=tls is not None, reach=lambda host: reach_of(config, role.data, host),
        gateway=lambda: read_heartbeat(role.data / "run" / "gateway.json")))
    server = uvicorn.Server(uvicorn.Config(
        app, host=config.console.host, port=config.console.port, log_config=None, access_log=False, server_header=False, lifespan="off",
        proxy_headers=False, http=bounded_http(), ws="none",
        ssl_certfile=str(tls.certificate) if tls else None, ssl_keyfile=str(tls.key) if tls else None))

    def watch() -> None:
        while not role.stopping.wait(0.2):
            role.beat()
        server.should_exit = True

    threading.Thread(target=watch, name="heartbeat", daemon=True).start()
    server.run()
    role.stopping.set()
    events.close()


def run_demonstration(role: Role, config_file: Path | None) -> None:
    """The invented agencies of `soc serve --demo`: their past, then their present; beside them this machine's own logs."""
    from soc import machine
    from soc.demo.player import Player
    from soc.ingest.deliver import GatewayClient
    from soc.store.manifest import Manifest

    state, access = open_databases(role.data, role.config)
    where = ["--data", str(role.data), *(["--config", str(config_file)] if config_file else [])]

    def wait(seconds: float) -> bool:
        role.beat()
        return role.stopping.wait(seconds)

    player = Player(data=role.data, state=state, access=access, manifest=Manifest.open(role.data), language=role.config.centre.language,
                    rules=[*where, "rules", "import"], wait=wait, now=now_micros)
    client = GatewayClient(role.data / "run" / "gateway.sock", patience=5.0)
    logs = machine.own_logs(role.config.machine.files, journal=role.config.machine.journal)
    follower = machine.Follower(logs, client, role.data / "own-logs.json", now_micros)

    def follow() -> None:
        while not player.decided.wait(0.2):
            if role.stopping.is_set():
                return
        machine.run(follower, role.stopping.wait)

    threading.Thread(target=follow, name="own-logs", daemon=True).start()
    player.run()


# ---- running them


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m soc.app ROLE`: one role in this process, as the supervisor starts it."""
    reader = argparse.ArgumentParser(prog="python -m soc.app", description="Run one role of the centre (see `soc serve`).")
    reader.add_argument("role", help=f"{', '.join(ROLES)}; of several detectors all but the first have a number: detector-2")
    reader.add_argument("--data", type=Path, required=True)
    reader.add_argument("--config", type=Path)
    reader.add_argument("--parent", type=int, default=0)
    reader.add_argument("--local", action="store_true", help="no listeners: the local socket only")
    given = reader.parse_args(arguments)
    if given.parent:
        die_with_parent(given.parent)
    config = Config.load(given.config)
    if given.role not in (*processes(ROLES, config), DEMONSTRATION):
        reader.error(f"there is no role {given.role!r}")
    role = Role(given.role, given.data, config)
    start_logging(role.config.logging.level, role.config.logging.format, role.name)
    run: dict[str, Callable[[], None]] = {
        "gateway": lambda: run_gateway(role, listen=not given.local),
        "normaliser": lambda: run_normaliser(role),
        "detector": lambda: run_detector(role),
        "console": lambda: run_console(role, given.config),
        DEMONSTRATION: lambda: run_demonstration(role, given.config),
    }
    run[given.role.partition("-")[0]]()


@contextmanager
def running_centre(data: Path, config_file: Path | None = None, *, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """The same roles without listeners or console, for a command that needs the path while no server runs.

    Raises LockedError if a server holds the folder after all.
    """
    config = Config.load(config_file)
    folder = prepare(data, config)
    with folder.lock():
        supervisor = Supervisor(data / "run", processes(ROLES[:3], config), arguments(data, config_file, local=True), say=say,
                                guards=guards(data, config))
        supervisor.start()
        stop = threading.Event()
        tender = threading.Thread(target=_tend, args=(supervisor, stop), name="supervisor", daemon=True)
        tender.start()
        try:
            yield
        finally:
            stop.set()
            tender.join()
            supervisor.stop()


def _tend(supervisor: Supervisor, stop: threading.Event) -> None:
    while not stop.wait(0.1):
        supervisor.tend()


if __name__ == "__main__":
    main()
