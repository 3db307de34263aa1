"""The configuration: every key with its default, unit and sentence; read once, all faults at once.

`config.yaml` is `render()` of the defaults. Times are seconds (float), sizes bytes, shares 0 to 1.
Environment variables SOC_<SECTION>__<KEY> win over the file.
"""
from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import yaml

from soc.errors import ConfigError
from soc.secret import Secret
from soc.setting import Kind, Setting, duration, setting

__all__ = [
    "CentreConfig", "CompactionConfig", "Config", "ConsoleConfig", "DatabaseConfig", "DetectorConfig", "DiskConfig",
    "GatewayConfig", "JournalConfig", "LoggingConfig", "MachineConfig", "NormaliserConfig", "RetentionConfig", "StoreConfig",
    "SyslogConfig", "TlsConfig", "render", "settings",
]

_MAX_FILE = 1 << 20
_PREFIX = "SOC_"


@dataclass(frozen=True, slots=True)
class CentreConfig:
    """Who watches."""

    name: str = setting(
        Kind.TEXT, "SOC", "How this centre calls itself in the console and in messages; while it is SOC, what was chosen at set-up holds.")
    language: str = setting(
        Kind.CHOICE, "vi", "Language of messages and of people who have not chosen one; while it is vi, what was chosen at set-up holds.",
        choices=("vi", "en"))
    timezone: str = setting(
        Kind.ZONE, "Asia/Ho_Chi_Minh", "Zone of times that arrive without one, where the source names none.")


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Where agents and log shippers deliver."""

    host: str = setting(Kind.HOST, "127.0.0.1", "Address to listen on; any but a loopback address needs TLS.")
    port: int = setting(Kind.PORT, "8081", "Port to listen on.")
    max_body: int = setting(Kind.SIZE, "16MiB", "Largest request as it arrives, compressed.", low="64KiB", high="256MiB")
    max_unpacked: int = setting(Kind.SIZE, "64MiB", "Largest request once unpacked.", low="64KiB", high="1GiB")
    max_records: int = setting(Kind.COUNT, "50000", "Most records in one request.", low="1", high="1000000")
    max_buffered: int = setting(
        Kind.SIZE, "128MiB", "Bodies of all requests together; beyond it senders come back later.", low="1MiB", high="64GiB")
    deadline: float = setting(Kind.DURATION, "30s", "A request not complete after this is dropped.", low="1s", high="10m")
    max_connections: int = setting(Kind.COUNT, "512", "Most connections at once; more wait.", low="1", high="100000")


@dataclass(frozen=True, slots=True)
class SyslogConfig:
    """Syslog over UDP, TCP and TLS."""

    enabled: bool = setting(Kind.FLAG, "true", "Whether to listen for syslog at all.")
    host: str = setting(Kind.HOST, "127.0.0.1", "Address to listen on.")
    port: int = setting(Kind.PORT, "5514", "Port to listen on, unencrypted, over TCP and UDP.")
    plain: bool = setting(Kind.FLAG, "true", "Whether to listen there; false leaves TLS only.")
    tls_port: int = setting(Kind.PORT, "6514", "Port to listen on over TLS, once there are certificates.")
    default_source: str = setting(Kind.TEXT, "syslog", "Source of messages from addresses that no source claims.")
    max_message: int = setting(Kind.SIZE, "1MiB", "Longest message; the rest is cut off and counted.", low="1KiB", high="16MiB")
    max_connections: int = setting(Kind.COUNT, "256", "Most connections at once.", low="1", high="100000")


@dataclass(frozen=True, slots=True)
class ConsoleConfig:
    """The pages and the API."""

    host: str = setting(Kind.HOST, "127.0.0.1", "Address to listen on; any but a loopback address needs TLS.")
    port: int = setting(Kind.PORT, "8080", "Port to listen on.")
    idle: float = setting(Kind.DURATION, "30m", "A login ends when nothing is done for this long.", low="1m", high="1d")
    session: float = setting(Kind.DURATION, "12h", "A login ends after this in any case.", low="1m", high="30d")
    upload: int = setting(Kind.SIZE, "2GiB", "Largest file that the page of imports takes; `soc import` takes any.", low="1MiB", high="1024GiB")


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Certificates; without any, those of `soc tls init` under tls/ of the data folder are used."""

    certificate: str = setting(Kind.TEXT, "", "PEM file with the server's certificate, then its chain.")
    key: str = setting(Kind.TEXT, "", "PEM file with its private key, readable by nobody else.")


@dataclass(frozen=True, slots=True)
class JournalConfig:
    """What was received, as it was received: acknowledged means it lies here."""

    file_size: int = setting(Kind.SIZE, "64MiB", "A journal file is closed at this size.", low="64KiB", high="4GiB")
    max_backlog: int = setting(
        Kind.SIZE, "64MiB", "Most bytes waiting for a sync; beyond it senders are told to come back.", low="1MiB", high="4GiB")
    max_unread: int = setting(
        Kind.SIZE, "4GiB", "Most bytes a lane holds that are not normalised yet; beyond it the same.", low="64MiB", high="1TiB")


@dataclass(frozen=True, slots=True)
class NormaliserConfig:
    """Turns journal frames into cuts of events."""

    cut_interval: float = setting(
        Kind.DURATION, "1s", "A cut is made this often when there is something.", low="100ms", high="2s")
    cut_records: int = setting(Kind.COUNT, "5000", "Most records in one cut of the live lane.", low="1", high="1000000")
    bulk_records: int = setting(Kind.COUNT, "5000", "Most records in one cut of the bulk lane.", low="1", high="1000000")
    live_share: int = setting(Kind.COUNT, "4", "Live cuts that may go before a waiting bulk one.", low="1", high="100")


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """The embedded event store."""

    memory_limit: int = setting(Kind.SIZE, "256MiB", "Memory one process's searches may use.", low="64MiB", high="1TiB")
    threads: int = setting(Kind.COUNT, "2", "Threads a search may use.", low="1", high="256")
    query_timeout: float = setting(Kind.DURATION, "30s", "A search is stopped after this.", low="100ms", high="1h")


@dataclass(frozen=True, slots=True)
class CompactionConfig:
    """Many small files become few large ones, in tiers: minute, hour, day."""

    minute: float = setting(Kind.DURATION, "1m", "Cuts this old are merged into segments.", low="5s", high="1h")
    hour: float = setting(Kind.DURATION, "1h", "Segments this old are merged further.", low="1m", high="1d")
    grace: float = setting(
        Kind.DURATION, "2m", "Replaced files stay this long; must exceed store.query_timeout.", low="1s", high="1d")


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """How long events stay, counted from when they arrived."""

    default: float = setting(Kind.DURATION, "365d", "Events of no other class go after this.", low="1d", high="36500d")
    classes: dict[str, float] = setting(
        Kind.DURATIONS, "{}", "Further classes that sources may name, each with its time, such as {short: 30d}.")


@dataclass(frozen=True, slots=True)
class DiskConfig:
    """The guard: nothing acknowledged is ever lost to a full disk."""

    warn: float = setting(Kind.PERCENT, "80%", "Health warns when the disk is this full.")
    refuse: float = setting(Kind.PERCENT, "95%", "From here new batches are answered with 503 until there is room.")


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Reads new segments past all rules."""

    poll: float = setting(Kind.DURATION, "500ms", "How often to look for new cuts.", low="50ms", high="5s")
    live_share: int = setting(Kind.COUNT, "4", "Live cuts that may go before a waiting bulk one.", low="1", high="100")
    processes: int = setting(Kind.COUNT, "1", "Detectors that share the cuts; each takes a core when busy, and 100 to 400 MB.", low="1", high="64")


@dataclass(frozen=True, slots=True)
class RulesConfig:
    """What an administrator keeps beside the rules, as files."""

    lists: str = setting(
        Kind.TEXT, "", "Folder of the lists that placeholders of rules are filled from; empty is lists/ in the data folder.")
    mappings: str = setting(
        Kind.TEXT, "", "Folder of your own field mappings, which come before ours; empty is mappings/ in the data folder.")
    release_url: str = setting(
        Kind.TEXT, "https://github.com/SigmaHQ/sigma/releases/latest/download/sigma_all_rules.zip",
        "Where set-up and `soc rules fetch` get the public rules: a zip, by https.")
    release_sha256: str = setting(Kind.TEXT, "", "Its SHA-256, 64 hex digits: then nothing else is taken; empty takes what is there.")


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """This machine's own logs, which `soc serve --demo` follows."""

    journal: bool = setting(Kind.FLAG, "true", "Whether to follow systemd's journal where there is one.")
    files: str = setting(
        Kind.TEXT, "/var/log/auth.log /var/log/secure /var/log/syslog /var/log/messages /var/log/nginx/*.log",
        "Files to follow, patterns between blanks; those that rsyslog writes of the journal are left out where that is followed.")


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Where state lies: alerts, rules, ledger, imports, users, audit."""

    state: Secret = setting(Kind.DATABASE, "", "postgresql://… for PostgreSQL; empty is state.db in the data folder.")
    access: Secret = setting(Kind.DATABASE, "", "The same for users, sessions and audit; empty is access.db there.")


@dataclass(frozen=True, slots=True)
class LoggingConfig:
    """What the processes say on stderr."""

    level: str = setting(
        Kind.CHOICE, "info", "Least level that is written; libraries speak from warning up, unless it is debug.",
        choices=("debug", "info", "warning", "error"))
    format: str = setting(Kind.CHOICE, "text", "Text for people, json for collectors.", choices=("text", "json"))


@dataclass(frozen=True, slots=True)
class Config:
    """All sections. `Config()` is the defaults; `Config.load` is what an operator wrote."""

    centre: CentreConfig = field(default_factory=CentreConfig)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    syslog: SyslogConfig = field(default_factory=SyslogConfig)
    console: ConsoleConfig = field(default_factory=ConsoleConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    journal: JournalConfig = field(default_factory=JournalConfig)
    normaliser: NormaliserConfig = field(default_factory=NormaliserConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    compaction: CompactionConfig = field(default_factory=CompactionConfig)
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    disk: DiskConfig = field(default_factory=DiskConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    rules: RulesConfig = field(default_factory=RulesConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)

    @classmethod
    def load(cls, path: Path | None, env: Mapping[str, str] | None = None) -> Config:
        """Defaults, then the file, then the environment. Reads only; raises ConfigError with every fault."""
        reading = _Reading(str(path) if path is not None else "")
        if path is not None:
            reading.file(path)
        reading.environment(os.environ if env is None else env)
        return reading.finish()


def settings() -> Iterator[tuple[str, str, Setting]]:
    """Every (section, key, setting), in the order of config.yaml."""
    for section in dataclasses.fields(Config):
        for key in dataclasses.fields(_section_type(section.name)):
            yield section.name, key.name, key.metadata["setting"]


def render() -> str:
    """The text of config.yaml: every key with its sentence, its bounds and its default."""
    lines = [
        "# Every setting of the centre, with its default. Keep what you change, leave out the rest.",
        "# SOC_<SECTION>__<KEY> in the environment wins over this file, e.g. SOC_GATEWAY__PORT=9081.",
    ]
    last = ""
    for section, key, found in settings():
        if section != last:
            described = (_section_type(section).__doc__ or "").strip()
            lines += ["", f"# {described}", f"{section}:"]
            last = section
        bounds = f" One of {', '.join(found.choices)}." if found.choices else ""
        if found.low:
            bounds = f" From {found.low} to {found.high}."
        lines += [f"  # {found.sentence}{bounds}", f"  {key}: {found.default or chr(34) * 2}"]
    return "\n".join(lines) + "\n"


class _Reading:
    """One reading of a configuration: values by (section, key), and the faults met on the way."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.values: dict[tuple[str, str], Any] = {}
        self.places: dict[tuple[str, str], str] = {}
        self.faults: list[str] = []

    def file(self, path: Path) -> None:
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
        if len(raw) > _MAX_FILE:
            raise ConfigError([f"{path}: over 1 MiB; this is no configuration"])
        try:
            loader = yaml.CSafeLoader(raw)
            root = loader.get_single_node()
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            place = f"{path}:{mark.line + 1}" if mark is not None else str(path)
            problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "no YAML"
            raise ConfigError([f"{place}: {problem}"]) from error
        if root is None:
            return
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError([self._at(root) + "sections are wanted here, each with its keys"])
        sections = [section.name for section in dataclasses.fields(Config)]
        for name, place, node in self._pairs(root, ""):
            if name not in sections:
                self.faults.append(f"{place}unknown section {name!r}{_nearest(name, sections)}")
            elif isinstance(node, yaml.MappingNode):
                self._section(name, node)
            elif not _is_null(node):
                self.faults.append(f"{place}section {name!r} holds keys, not a value")

    def environment(self, env: Mapping[str, str]) -> None:
        known = {f"{_PREFIX}{section}__{key}".upper(): (section, key, found) for section, key, found in settings()}
        for name in sorted(env):
            if not name.startswith(_PREFIX) or "__" not in name:
                continue
            if name not in known:
                self.faults.append(f"environment: unknown setting {name}{_nearest(name, list(known))}")
                continue
            section, key, found = known[name]
            self._keep(section, key, found, env[name], f"environment: {name}: ")

    def finish(self) -> Config:
        made: dict[str, Any] = {}
        for section in dataclasses.fields(Config):
            kept = {key: value for (name, key), value in self.values.items() if name == section.name}
            made[section.name] = _section_type(section.name)(**kept)
        config = Config(**made)
        self.faults += self._together(config)
        if self.faults:
            raise ConfigError(self.faults)
        return config

    def _section(self, section: str, node: yaml.MappingNode) -> None:
        known = {name: found for owner, name, found in settings() if owner == section}
        for key, place, value in self._pairs(node, f"{section}."):
            if key not in known:
                elsewhere = [f"{owner}.{name}" for owner, name, _ in settings() if name == key]
                hint = f"; {elsewhere[0]} exists" if elsewhere else _nearest(key, list(known), f"{section}.")
                self.faults.append(f"{place}unknown key '{section}.{key}'{hint}")
            elif known[key].kind is Kind.DURATIONS:
                self._durations(section, key, value, place)
            elif not isinstance(value, yaml.ScalarNode):
                self.faults.append(f"{place}{section}.{key}: one value is wanted: {known[key].kind.value}")
            elif value.tag.startswith("!"):
                self.faults.append(f"{place}{section}.{key}: tags such as {value.tag} are not read")
            elif _is_null(value) and known[key].kind not in (Kind.TEXT, Kind.DATABASE):
                self.faults.append(f"{place}{section}.{key}: no value; wanted: {known[key].kind.value}")
            else:
                text = "" if _is_null(value) else value.value
                self._keep(section, key, known[key], text, f"{place}{section}.{key}: ", place)

    def _durations(self, section: str, key: str, node: yaml.Node, place: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            self.faults.append(f"{place}{section}.{key}: wanted: {Kind.DURATIONS.value}")
            return
        read: dict[str, float] = {}
        for name, at, value in self._pairs(node, f"{section}.{key}."):
            if not name.isidentifier() or name == "default":
                self.faults.append(f"{at}{section}.{key}: {name!r} cannot be a name here (letters, digits, _; not default)")
            elif not isinstance(value, yaml.ScalarNode):
                self.faults.append(f"{at}{section}.{key}.{name}: one value is wanted: {Kind.DURATION.value}")
            else:
                try:
                    read[name] = duration(value.value)
                except ValueError as error:
                    self.faults.append(f"{at}{section}.{key}.{name}: {error}")
        self.values[section, key] = read
        self.places[section, key] = place

    def _keep(self, section: str, key: str, found: Setting, text: str, said: str, place: str = "environment: ") -> None:
        try:
            self.values[section, key] = found.read(text.strip())
            self.places[section, key] = place
        except ValueError as error:
            self.faults.append(f"{said}{error}")

    def _pairs(self, node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, str, yaml.Node]]:
        """(key, place, value) of a mapping; keys given twice and keys that are no text are faults."""
        seen: set[str] = set()
        for key, value in node.value:
            place = self._at(key)
            if not isinstance(key, yaml.ScalarNode):
                self.faults.append(f"{place}a key must be text")
            elif key.value in seen:
                self.faults.append(f"{place}{prefix}{key.value} is given twice")
            else:
                seen.add(key.value)
                yield key.value, place, value

    def _at(self, node: yaml.Node) -> str:
        return f"{self.where}:{cast(Any, node).start_mark.line + 1}: "

    def _together(self, config: Config) -> Iterable[str]:
        """What is wrong with settings that are each right by themselves."""
        def at(*keys: str) -> str:
            places = (self.places.get(cast(tuple[str, str], tuple(key.split(".")))) for key in keys)
            return next(filter(None, places), f"{self.where}: " if self.where else "")

        if config.disk.warn >= config.disk.refuse:
            yield f"{at('disk.warn', 'disk.refuse')}disk.warn must be below disk.refuse"
        if bool(config.tls.certificate) != bool(config.tls.key):
            yield f"{at('tls.certificate', 'tls.key')}tls.certificate and tls.key go together"
        if config.compaction.grace <= config.store.query_timeout:
            yield f"{at('compaction.grace', 'store.query_timeout')}compaction.grace must exceed store.query_timeout"
        if config.compaction.minute >= config.compaction.hour:
            yield f"{at('compaction.minute', 'compaction.hour')}compaction.minute must be below compaction.hour"
        if config.gateway.max_body > config.gateway.max_buffered:
            yield f"{at('gateway.max_body', 'gateway.max_buffered')}gateway.max_body cannot exceed gateway.max_buffered"
        if not re.fullmatch(r"([0-9a-fA-F]{64})?", config.rules.release_sha256):
            yield f"{at('rules.release_sha256')}rules.release_sha256 is no SHA-256: 64 hex digits, or nothing"
        listeners = [("console.port", config.console.port), ("gateway.port", config.gateway.port)]
        if config.syslog.enabled:
            listeners += [("syslog.port", config.syslog.port), ("syslog.tls_port", config.syslog.tls_port)]
        for (name, port), (other, theirs) in combinations(listeners, 2):
            if port == theirs != 0:
                yield f"{at(name, other)}{name} and {other} are both {port}"


def _section_type(name: str) -> Any:
    return type(getattr(_DEFAULTS, name))


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _nearest(name: str, known: list[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name.lower() if name.islower() else name, known, n=1, cutoff=0.5)
    return f"; did you mean '{prefix}{near[0]}'?" if near else f"; known: {', '.join(known)}" if len(known) < 20 else ""


_DEFAULTS = Config()
