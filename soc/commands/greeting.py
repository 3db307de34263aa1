"""What `soc serve` says beside its addresses: how to reach a console on a remote server, and how to listen beyond this machine."""
from __future__ import annotations

import getpass
import ipaddress
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from soc.commands.centre import Options
from soc.config import Config
from soc.setting import loopback
from soc.supervisor import apart

__all__ = ["afar", "program", "shown_host"]


def afar(config: Config, options: Options, roles: Collection[str], *, certificates: bool) -> Iterator[str]:
    """Lines for whoever sits at another machine than this; none where the console listens to others already."""
    host, port = config.console.host, config.console.port
    if "console" not in roles or not loopback(host):
        return
    target = f"[{host}]" if ":" in host else host
    yield f"Remote    ssh -L {port}:{target}:{port} {_user()}@{_here()}   (on your own computer; then open the same address there)"
    if os.environ.get("INVOCATION_ID"):  # a service of systemd (systemd.exec(5)) is not started by a command line
        made = "" if certificates else f"{program(options)} tls init --host {_here()}, then "
        yield f"Network   {made}console.host and gateway.host 0.0.0.0 in the configuration, and restart the service   (to listen to others, by TLS)"
        return
    listen = "SOC_CONSOLE__HOST=0.0.0.0 SOC_GATEWAY__HOST=0.0.0.0"
    again = f"{listen} {_started_as(program(options))}"
    yield f"Network   {again if certificates else f'{program(options)} tls init --host {_here()} && {again}'}   (to listen to others, by TLS)"


def shown_host(host: str, certificate: Path | None) -> str:
    """The host of an address to click on: for "every address" the first name of the certificate, else this machine's name."""
    try:
        anywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        anywhere = False
    if anywhere:
        host = (apart(_names, certificate) if certificate else [socket.gethostname()])[0]
    return f"[{host}]" if ":" in host else host


def program(options: Options) -> str:
    """The command `soc` as this person has to type it here, with the data folder if that is another than ./data."""
    ours = Path(sys.executable).parent / "soc"
    found = shutil.which("soc")
    if found and Path(found).parent.resolve() == ours.parent.resolve():
        name = "soc"
    elif ours.is_relative_to(Path.cwd()) and Path.cwd() != Path("/"):
        name = str(ours.relative_to(Path.cwd()))
    else:
        name = str(ours)
    return shlex.join([name, *(["--data", str(options.data)] if options.data != Path("data") and not os.environ.get("SOC_DATA") else [])])


def _started_as(soc: str) -> str:
    """How the centre was started, to be typed again: `make run` and ./run say so themselves."""
    return os.environ.get("SOC_STARTED_AS") or f"{soc.partition(' --data ')[0]} {shlex.join(sys.argv[1:])}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without an entry, as in containers
        return "USER"


def _here() -> str:
    """This machine as the person at the other end reached it; its name if nobody is at another end."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    return words[2] if len(words) == 4 else socket.gethostname()


def _names(certificate: Path) -> list[str]:
    from soc.tls import certificate_facts

    return [*(name for name in certificate_facts(certificate).names if not loopback(name)), socket.gethostname()]
