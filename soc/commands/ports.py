"""The ports that a centre listens on: what they are for, and whether they may be had. Asked before the start, and by `soc doctor`."""
from __future__ import annotations

import errno
import socket
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from soc.config import Config
from soc.errors import InputRefused

__all__ = ["Port", "bind", "ports_of", "refuse_taken"]

_PATIENCE = 3.0
"""Seconds that a predecessor on the same folder, killed a moment ago, may take to let its ports go."""


@dataclass(frozen=True, slots=True)
class Port:
    """One port: `setting` names it in the configuration, `kind` is socket.SOCK_STREAM or SOCK_DGRAM."""

    name: str
    setting: str
    host: str
    number: int
    kind: int

    @property
    def place(self) -> str:
        """host:port, as people write it."""
        return f"[{self.host}]:{self.number}" if ":" in self.host else f"{self.host}:{self.number}"


def ports_of(config: Config, roles: Collection[str], *, tls: bool) -> Iterator[Port]:
    """The ports of these roles; syslog's TLS port only where there are certificates (`tls`)."""
    tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
    if "gateway" in roles:
        yield Port("gateway", "gateway.port", config.gateway.host, config.gateway.port, tcp)
    if "console" in roles:
        yield Port("console", "console.port", config.console.host, config.console.port, tcp)
    if "gateway" in roles and config.syslog.enabled:
        if config.syslog.plain:
            yield Port("syslog", "syslog.port", config.syslog.host, config.syslog.port, tcp)
            yield Port("syslog UDP", "syslog.port", config.syslog.host, config.syslog.port, udp)
        if tls:
            yield Port("syslog TLS", "syslog.tls_port", config.syslog.host, config.syslog.tls_port, tcp)


def bind(host: str, port: int, kind: int) -> None:
    """Take the port and let it go again. Raises OSError (gaierror, too) if that cannot be."""
    family, _, protocol, _, address = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, kind, protocol) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def refuse_taken(ports: Collection[Port], patience: float = _PATIENCE) -> None:
    """Wait until all of them may be had. Raises InputRefused with the command that helps for the first that may not after `patience` s."""
    until = time.monotonic() + patience
    for port in ports:
        while True:
            try:
                bind(port.host, port.number, port.kind)
                break
            except OSError as fault:
                if fault.errno == errno.EADDRINUSE and time.monotonic() < until:
                    time.sleep(0.1)
                    continue
                raise _refusal(port, fault) from None


def _refusal(port: Port, fault: OSError) -> InputRefused:
    variable = f"SOC_{port.setting.replace('.', '__').upper()}"
    if fault.errno == errno.EADDRINUSE:
        letters = "lunp" if port.kind == socket.SOCK_DGRAM else "ltnp"
        return InputRefused(f"{port.place} ({port.setting}) is taken by another program",
                            remedy=f"`ss -{letters} 'sport = :{port.number}'` shows which; or take another port: {variable}={_free_near(port)} "
                                   "in front of the same command")
    if fault.errno == errno.EACCES:
        return InputRefused(f"{port.place} ({port.setting}) may not be used by this user",
                            remedy=f"take a port above 1023: {variable}={_free_near(port)} in front of the same command")
    return InputRefused(f"{port.place} ({port.setting}): {fault.strerror}",
                        remedy=f"set {port.setting.split('.')[0]}.host to an address of this machine (`ip -brief address` lists them)")


def _free_near(port: Port) -> int:
    """A port above 1023 that may be had now, as near above as there is one; 0, any, if there is none near."""
    for number in range(max(port.number + 1, 1024 + port.number % 1000), 65_536):
        try:
            bind(port.host, number, port.kind)
            return number
        except OSError:
            continue
    return 0
