"""The systemd unit of a centre: its text, and whether its user can reach the program. Nothing here changes the system.

Hardening follows systemd.exec(5): the service writes to its data folder and nowhere else, and gains no right it was not started with.
"""
from __future__ import annotations

import grp
import pwd
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from soc.errors import InputRefused

__all__ = ["FIRST_LINE", "Service", "unit_text", "unreachable"]

FIRST_LINE = "# Written by `soc service install`; `soc service remove` takes it away. Changes of your own: systemctl edit"
_STATE = Path("/var/lib")


@dataclass(frozen=True, slots=True)
class Service:
    """What runs: `program` is what the command line starts with; `low_ports` says that it listens below 1024."""

    name: str
    user: str
    program: tuple[str, ...]
    data: Path
    config: Path | None = None
    low_ports: bool = False


def unit_text(service: Service) -> str:
    """The unit file. Raises InputRefused for a path that systemd cannot be told of."""
    words = [*service.program, "--data", str(service.data), *(["--config", str(service.config)] if service.config else []), "serve"]
    return "\n".join([
        FIRST_LINE,
        "[Unit]",
        "Description=SOC, the security monitoring centre",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=exec",
        f"User={service.user}",
        f"ExecStart={' '.join(map(_quoted, words))}",
        "Restart=always",
        "RestartSec=2",
        "KillMode=mixed",
        "TimeoutStopSec=60",
        "LimitNOFILE=65536",
        "UMask=0077",
        *_folders(service),
        "",
        *_HARDENED,
        *_capabilities(service.low_ports),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]) + "\n"


def unreachable(user: str, paths: Iterable[Path]) -> Path | None:
    """The first folder on the way to one of `paths` that `user` may not pass; None if they reach all.

    Raises InputRefused if there is no such user.
    """
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise InputRefused(f"there is no user {user!r}") from None
    groups = {found.pw_gid, *(one.gr_gid for one in grp.getgrall() if user in one.gr_mem)}
    for path in paths:
        for folder in reversed(path.absolute().parents):
            if not _may_pass(folder, found.pw_uid, groups):
                return folder
    return None


_HARDENED = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectHostname=yes",
    "ProtectClock=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectHome=read-only",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "RemoveIPC=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
)
"""ProtectHome leaves homes readable: the program, or a folder that is followed, may lie in one."""


def _folders(service: Service) -> Iterator[str]:
    """Where it may write: systemd makes a folder of /var/lib, others have to be there."""
    if service.data.is_relative_to(_STATE) and service.data != _STATE:
        yield f"StateDirectory={_quoted(str(service.data.relative_to(_STATE)))}"
        yield "StateDirectoryMode=0700"
    else:
        yield f"ReadWritePaths={_quoted(str(service.data))}"


def _capabilities(low_ports: bool) -> Iterator[str]:
    kept = "CAP_NET_BIND_SERVICE" if low_ports else ""
    yield f"CapabilityBoundingSet={kept}"
    yield f"AmbientCapabilities={kept}"


def _quoted(word: str) -> str:
    """A word of a unit file (systemd.syntax(7), and systemd.service(5) on % and $)."""
    if any(not c.isprintable() for c in word):
        raise InputRefused(f"{word!r} holds control characters", remedy="systemd takes no such path: rename it")
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"' if not word or any(c in word for c in " '\"\\;") else plain


def _may_pass(folder: Path, uid: int, groups: set[int]) -> bool:
    try:
        status = folder.stat()
    except OSError:
        return False
    if uid == 0:
        return True
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IXUSR)
    return bool(status.st_mode & (stat.S_IXGRP if status.st_gid in groups else stat.S_IXOTH))
