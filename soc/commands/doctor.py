"""`soc doctor`: looks at this machine, the configuration and the data folder, and says what to do. Changes nothing."""
from __future__ import annotations

import errno
import importlib.metadata
import os
import resource
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from soc.addresses import as_running
from soc.commands.centre import Options
from soc.commands.output import many, say, show
from soc.commands.ports import bind, ports_of
from soc.config import Config
from soc.errors import ConfigError, SocError
from soc.folder import DataFolder
from soc.setting import loopback
from soc.tls import certificate_facts, tls_for

__all__ = ["State", "doctor", "examine"]

_LEAST_SQLITE = (3, 37, 0)
_LEAST_FILES = 1024
_LEAST_MEMORY = 1 << 30
_RENEW_WITHIN = timedelta(days=30)
_RECEIVE_BUFFER = 8 << 20
"""Bytes of the kernel that syslog over UDP asks for."""


class State(StrEnum):
    """What a check found: all well, worth a look, or in the way."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `remedy` says what to do unless it is well."""

    check: str
    state: State
    found: str
    remedy: str = ""


def doctor(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check configuration, disk, clock, permissions and ports, and say what to do. Works running or stopped."""
    options: Options = ctx.find_root().obj
    findings = list(examine(options.data, options.config, datetime.now(UTC)))
    rows: list[dict[str, object]] = [
        {"check": f.check, "state": f.state.value, "found": f.found, "do": f.remedy} for f in findings]
    show(rows, ["check", "state", "found", "do"], as_json=as_json)
    failed, warned = (sum(f.state is state for f in findings) for state in (State.FAIL, State.WARN))
    if not as_json:
        say(_verdict(len(findings), failed, warned))
    raise typer.Exit(1 if failed else 0)


def _verdict(checks: int, failed: int, warned: int) -> str:
    look = f"{many(warned, 'check')} {'is' if warned == 1 else 'are'} worth a look" if warned else ""
    if failed:
        return f"{failed} of {many(checks, 'check')} failed" + (f", {look}." if look else ".")
    return f"Nothing is in the way; {look}." if look else "Nothing is in the way."


def examine(data: Path, config_path: Path | None, now: datetime) -> Iterator[Finding]:
    """Every finding in turn. A configuration with faults is reported, and its defaults are used for the rest."""
    try:
        config = Config.load(config_path)
        yield Finding("configuration", State.OK, str(config_path) if config_path else "the defaults")
    except ConfigError as error:
        config = Config()
        for fault in error.faults:
            yield Finding("configuration", State.FAIL, fault, "mend it; the checks below use the defaults")
    config = as_running(config, data)
    yield _python()
    yield from _folder(data)
    yield _disk(data, config)
    yield _sqlite(data)
    yield from _clock(now)
    yield from _ports(data, config)
    yield from _certificates(data, config, now)
    yield from _syslog(config)
    yield from _kept(data, config)
    yield _files()
    yield _memory(config)
    yield from _databases(config)
    yield from _aside(data, config)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    missing = [name for name in ("duckdb", "pyarrow", "orjson", "zstandard", "sqlalchemy") if not _installed(name)]
    if missing:
        return Finding("python", State.FAIL, f"{version}, without {', '.join(missing)}", "install again: make run")
    return Finding("python", State.OK, version)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _folder(data: Path) -> Iterator[Finding]:
    if not data.exists():
        parent = _nearest(data)
        writable = os.access(parent, os.W_OK | os.X_OK)
        yield Finding("data folder", State.OK if writable else State.FAIL, f"{data} is not there yet",
                      "" if writable else f"{parent} cannot be written to: make {data} by hand, or use --data")
        return
    try:
        folder = DataFolder.open(data, create=False)
    except SocError as error:
        state = State.OK if not any(data.iterdir()) else State.FAIL
        yield Finding("data folder", state, f"{data} is empty" if state is State.OK else error.message, error.remedy)
        return
    holder = folder.holder()
    held = "" if holder is None else f", held by the running server (process {holder or 'unknown'})"
    yield Finding("data folder", State.OK, f"{data}, centre {folder.centre}{held}")
    yield _permissions(data)


def _permissions(data: Path) -> Finding:
    loose = []
    for path in (data, *sorted(data.glob("*.db*")), *sorted(data.glob("tls/*.key")), *sorted(data.glob("run/*.sock"))):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid != os.geteuid():
            loose.append(path)
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        return Finding("permissions", State.FAIL, f"this user cannot read and write {data}", f"chown -R it to {os.geteuid()}")
    if loose:
        return Finding("permissions", State.FAIL, f"others may reach or own {', '.join(map(str, loose[:3]))}",
                       f"chown -R {os.geteuid()} {data}; chmod -R go-rwx {data}")
    return Finding("permissions", State.OK, "private to this user")


def _disk(data: Path, config: Config) -> Finding:
    from soc.store.disk import RealDisk

    place = _nearest(data)
    share = RealDisk().used(place)  # as the guard reckons that refuses events
    found = f"{share:.0%} full, {shutil.disk_usage(place).free / (1 << 30):.1f} GiB free"
    if share >= config.disk.refuse:
        return Finding("disk", State.FAIL, found,
                       f"from {config.disk.refuse:.0%} new events are refused: make room, or soc store expire")
    if share >= config.disk.warn:
        return Finding("disk", State.WARN, found, "make room, or shorten retention.default")
    return Finding("disk", State.OK, found)


def _sqlite(data: Path) -> Finding:
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < _LEAST_SQLITE:
        return Finding("sqlite", State.FAIL, version, f"{'.'.join(map(str, _LEAST_SQLITE))} or newer is needed")
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=_nearest(data)) as folder:
            connection = sqlite3.connect(Path(folder) / "probe.db")
            try:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                connection.execute("CREATE TABLE probe (n INTEGER)")
                other = sqlite3.connect(Path(folder) / "probe.db")
                other.execute("SELECT count(*) FROM probe").fetchone()
                other.close()
            finally:
                connection.close()
    except (OSError, sqlite3.Error) as error:
        return Finding("sqlite", State.FAIL, f"{version}: {error}", "the data folder must be on a local, writable file system")
    if mode != "wal":
        return Finding("sqlite", State.FAIL, f"{version}: no write-ahead log on this file system",
                       "put the data folder on a local file system")
    return Finding("sqlite", State.OK, f"{version}, write-ahead log works here")


def _clock(now: datetime) -> Iterator[Finding]:
    if not 2025 <= now.year < 2100:
        yield Finding("clock", State.FAIL, f"it says {now:%Y-%m-%d}", "set the clock; times of new events depend on it")
        return
    wall, steady = time.time(), time.monotonic()
    time.sleep(0.05)
    drift = abs((time.time() - wall) - (time.monotonic() - steady))
    if drift > 0.02:
        yield Finding("clock", State.WARN, f"it jumped by {drift:.3f} s within 50 ms", "check what else sets this clock")
    else:
        yield Finding("clock", State.OK, f"{now:%Y-%m-%d %H:%M:%S} UTC, steady")
    synchronised = _synchronised()
    if synchronised is False:
        yield Finding("clock source", State.WARN, "not synchronised", "switch on NTP, e.g. timedatectl set-ntp true")
    elif synchronised:
        yield Finding("clock source", State.OK, "synchronised")


def _synchronised() -> bool | None:
    """Whether systemd says the clock is set by NTP; None where nobody can tell."""
    program = shutil.which("timedatectl")
    if program is None:
        return None
    try:
        said = subprocess.run([program, "show", "-p", "NTPSynchronized", "--value"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(said.stdout.strip()) if said.returncode == 0 else None


def _ports(data: Path, config: Config) -> Iterator[Finding]:
    running = (data / "lock").exists() and DataFolder(data, "").holder() is not None
    for port in ports_of(config, ("gateway", "console"), tls=_has_certificates(data, config)):
        check, place, setting, kind = f"{port.name} port", f"{port.host}:{port.number}", port.setting, port.kind
        try:
            bind(port.host, port.number, port.kind)
            if running:
                yield Finding(check, State.WARN, f"a server runs on this folder, yet nobody listens on {place}",
                              "wait a few seconds if it has just started; else look at what it says")
            else:
                yield Finding(check, State.OK, f"{place} is free")
        except PermissionError:
            yield Finding(check, State.FAIL, f"{place} may not be used by this user", f"choose a {setting} above 1023")
        except OSError as error:
            if error.errno == errno.EADDRINUSE and running:
                yield Finding(check, State.OK, f"{place} is in use, as it should be while the server runs")
            elif error.errno == errno.EADDRINUSE:
                yield Finding(check, State.FAIL, f"{place} is taken by another program",
                              f"stop that (ss -{'lu' if kind == socket.SOCK_DGRAM else 'lt'}np shows it), or set {setting}")
            else:
                yield Finding(check, State.FAIL, f"{place}: {error.strerror}", f"set {setting.split('.')[0]}.host to an address of this machine")


def _has_certificates(data: Path, config: Config) -> bool:
    try:
        return tls_for(config, data, "127.0.0.1", "syslog") is not None
    except ConfigError:
        return False  # the check of the certificates says so


def _certificates(data: Path, config: Config, now: datetime) -> Iterator[Finding]:
    files = None
    for name, host in (("gateway", config.gateway.host), ("console", config.console.host)):
        try:
            files = tls_for(config, data, host, name)
        except ConfigError as error:
            yield Finding("certificate", State.FAIL, "; ".join(error.faults), "run soc tls init")
            return
    if files is None:
        yield Finding("certificate", State.OK, "none needed: only this machine is listened to")
        return
    try:
        facts = certificate_facts(files.certificate)
    except SocError as error:
        yield Finding("certificate", State.FAIL, error.message, error.remedy)
        return
    found = f"{files.certificate} for {', '.join(facts.names)} until {facts.ends:%Y-%m-%d}"
    if now >= facts.ends or now < facts.starts:
        yield Finding("certificate", State.FAIL, found, "it is not valid today: soc tls init --renew")
    elif facts.ends - now < _RENEW_WITHIN:
        yield Finding("certificate", State.WARN, found, "soc tls init --renew")
    else:
        yield Finding("certificate", State.OK, found)


def _syslog(config: Config) -> Iterator[Finding]:
    """What UDP loses, and what everybody on the way can read."""
    if not config.syslog.enabled or not config.syslog.plain:
        return
    if not loopback(config.syslog.host):
        yield Finding("syslog", State.WARN, f"plain text on {config.syslog.host}:{config.syslog.port}",
                      f"keep it to a trusted network; TLS is on port {config.syslog.tls_port} (syslog.plain: false leaves only that)")
    try:
        granted = int(Path("/proc/sys/net/core/rmem_max").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    if granted < _RECEIVE_BUFFER and os.geteuid() != 0:
        yield Finding("syslog UDP buffer", State.WARN, f"the kernel grants {granted >> 10} KiB: bursts over it are dropped (and counted)",
                      f"as root: sysctl -w net.core.rmem_max={_RECEIVE_BUFFER}")
    else:
        yield Finding("syslog UDP buffer", State.OK, f"{_RECEIVE_BUFFER >> 20} MiB")


def _kept(data: Path, config: Config) -> Iterator[Finding]:
    """Lists for placeholders, and field mappings: what the administrator keeps as files."""
    from soc.detect.lists import kept_folders, read_lists
    from soc.detect.pipelines import Pipelines

    lists, mappings = kept_folders(config, data)
    found, faults = read_lists(lists)
    faults += Pipelines.load(mappings)[1]
    for fault in faults:
        yield Finding("lists and mappings", State.FAIL, str(fault), fault.remedy or "mend the file; the others are used")
    if not faults:
        names = f"lists: {', '.join(sorted(found))}" if found else "no lists"
        yield Finding("lists and mappings", State.OK, f"{names}; {len(_yaml_files(mappings))} mappings of your own")


def _yaml_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.lower() in (".yml", ".yaml")] if folder.is_dir() else []


def _files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _LEAST_FILES:
        return Finding("open files", State.WARN, f"at most {soft}", f"ulimit -n {min(hard, 4096) if hard > 0 else 4096}")
    return Finding("open files", State.OK, f"at most {soft}")


def _memory(config: Config) -> Finding:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        figures = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines if len(line.split()) > 1}
        total, free = figures["MemTotal"], figures["MemAvailable"]
    except (OSError, ValueError, KeyError):
        return Finding("memory", State.WARN, "cannot be told on this system", "1 GiB should be free")
    found = f"{free / (1 << 30):.1f} of {total / (1 << 30):.1f} GiB free"
    if free < _LEAST_MEMORY + config.store.memory_limit:
        return Finding("memory", State.WARN, found, "1 GiB beside store.memory_limit should be free")
    return Finding("memory", State.OK, found)


def _databases(config: Config) -> Iterator[Finding]:
    for name, secret in (("state", config.database.state), ("access", config.database.access)):
        if not secret:
            continue
        from sqlalchemy.exc import SQLAlchemyError

        from soc.database import ACCESS, STATE, Database

        database = Database.open(secret.reveal(), STATE if name == "state" else ACCESS)
        try:
            with database.read():
                pass
            yield Finding(f"{name} database", State.OK, "PostgreSQL answers")
        except (SQLAlchemyError, SocError) as error:
            yield Finding(f"{name} database", State.FAIL, f"no answer ({type(error).__name__})",
                          f"check database.{name} and that PostgreSQL runs")
        finally:
            database.close()


def _aside(data: Path, config: Config) -> Iterator[Finding]:
    """Rules that are on and judge nothing. Those that the demonstration holds are said apart: they are meant to."""
    from sqlalchemy.exc import SQLAlchemyError

    from soc.database import STATE, Database, sqlite_url
    from soc.demo import pack
    from soc.detect.isolation import HELD, Isolation
    from soc.detect.rulestore import RuleStore

    if not config.database.state and not (data / "state.db").exists():
        return
    try:
        database = Database.open(config.database.state.reveal() or sqlite_url(data / "state.db"), STATE)
        try:
            aside = Isolation(database).all()
            on = RuleStore(database).known(list(aside), enabled=True)
            shown = on & pack.there(database)
        finally:
            database.close()
    except (SQLAlchemyError, SocError):
        return  # not there yet, older, or out of reach: other checks, and the start, say so
    held = sum(aside[rule_id].kind == HELD for rule_id in on - shown)
    failed = len(on - shown) - held
    apart = f"; of the demonstration {len(shown)}, as it is meant to be" if shown else ""
    if on - shown:
        yield Finding("rules", State.WARN, f"{failed} failed, {held} held by somebody: they judge nothing{apart}",
                      "soc rules list names them under trouble; one that failed is tried again, one that is held waits for soc rules resume")
    else:
        yield Finding("rules", State.OK, f"none stands aside{apart}")


def _nearest(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
