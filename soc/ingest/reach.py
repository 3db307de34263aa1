"""Where senders reach the centre: addresses and ports that a sender's configuration can name, and whom it has to trust."""
from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

from soc.config import Config
from soc.errors import ConfigError, InputRefused, StoreError
from soc.setting import loopback
from soc.tls import TlsFiles, certificate_facts, tls_for

__all__ = ["Reach", "reach_of"]

_ELSEWHERE = "/etc/soc/ca.crt"
"""Where a sender on another machine is told to put our authority's certificate."""

_NOWHERE = ("192.0.2.1", 9)
"""An address of RFC 5737: asked which way leads there, the kernel says our own address, and nothing is sent."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Hosts and ports by which senders come; a port is 0 where nothing listens.

    `ca` is where the sender has the certificate of our authority ("": a public one is used, or none); `copy` is the file
    here that has to be brought there, if the sender is another machine. `name` is a DNS name of the server's certificate.
    """

    gateway: str
    http: int
    https: bool
    syslog: str
    plain: int
    tls: int
    ca: str = ""
    copy: Path | None = None
    name: str = ""

    @property
    def url(self) -> str:
        """The gateway's address without a path."""
        host = f"[{self.gateway}]" if ":" in self.gateway else self.gateway
        return f"{'https' if self.https else 'http'}://{host}:{self.http}"


def reach_of(config: Config, data: Path, host: str = "") -> Reach:
    """How the centre with this configuration is reached; `host` is the name senders are to use, found out if not given.

    Raises InputRefused if `host` is none.
    """
    if host and (len(host) > 253 or not all(letter.isalnum() or letter in ".-:_" for letter in host)):
        raise InputRefused(f"{host[:64]!r} is no host", remedy="a name or an address of this centre, as the sender reaches it")
    gateway, syslog = config.gateway, config.syslog
    files = _files(config, data, gateway.host)
    names = _names(files)
    plain = syslog.port if syslog.enabled and syslog.plain else 0
    tls = syslog.tls_port if syslog.enabled and _files(config, data, "127.0.0.1") is not None else 0
    reached = host or _reachable(gateway.host, names), host or _reachable(syslog.host, names)
    here = all(loopback(one) for one in reached)
    authority = files.authority if files is not None else None
    return Reach(
        gateway=reached[0], http=gateway.port, https=files is not None or not loopback(gateway.host), syslog=reached[1], plain=plain,
        tls=tls, ca="" if authority is None else str(authority.resolve()) if here else _ELSEWHERE,
        copy=None if here else authority, name=next((name for name in names if not _is_address(name)), ""))


def _files(config: Config, data: Path, host: str) -> TlsFiles | None:
    """What is wrong with TLS is `serve`'s to say, and the doctor's."""
    try:
        return tls_for(config, data, host, "gateway")
    except ConfigError:
        return None


def _names(files: TlsFiles | None) -> tuple[str, ...]:
    try:
        return certificate_facts(files.certificate).names if files is not None else ()
    except StoreError:
        return ()


def _reachable(listens: str, names: tuple[str, ...]) -> str:
    """What to call an address that is listened on: of all of them, one that the certificate names, else our own."""
    if listens not in ("0.0.0.0", "::", ""):
        return listens
    return next((name for name in names if not loopback(name)), "") or _own_address()


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_NOWHERE)
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
