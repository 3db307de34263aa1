"""Raw log lines of the demonstration, as nginx, rsyslog, auditd and a Windows shipper write them. Times are microseconds since 1970 UTC."""
from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Final

from soc.event import from_micros

__all__ = ["BROWSER", "COMMUNE", "DESKTOP", "PORTAL", "WEB_HOST", "access", "executed", "process", "security", "sysmon", "syslog", "written"]

PORTAL, WEB_HOST, COMMUNE, DESKTOP = "thanhson.example", "cong-web-01", "10.20.1.", "MAY-VANTHU-03"
BROWSER: Final = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
_LOCAL: Final = timezone(timedelta(hours=7))
_ACCOUNTS: Final = {"www-data": 33, "root": 0, "quantri": 1000}
_UNSET: Final = 4294967295
_ENRICHED: Final = "\x1d"


def access(at: int, client: str, method: str, target: str, status: int, size: int, agent: str = BROWSER, referer: str = "-") -> bytes:
    """A line of nginx's combined access log."""
    return (f'{client} - - [{_local(at):%d/%b/%Y:%H:%M:%S %z}] "{method} {target} HTTP/1.1" {status} {size} "{referer}" "{agent}"').encode()


def syslog(at: int, program: str, pid: int, message: str) -> bytes:
    """A line of a file that rsyslog writes with its present default: RFC 3339 time, host, program."""
    name = f"{program}[{pid}]" if pid else program
    return f"{_local(at).isoformat(timespec='microseconds')} {WEB_HOST} {name}: {message}".encode()


def executed(at: int, serial: int, account: str, program: str, arguments: Sequence[str], folder: str, parent: int = 2201) -> bytes:
    """The lines of one audit event of a program that starts, together as an audit reader ships them."""
    words = " ".join(f'a{place}="{word}"' for place, word in enumerate(arguments))
    return _audited(at, serial, [
        _call(account, 59, "execve", program.rpartition("/")[2], program, "exec", parent),
        f"type=EXECVE {{stamp}} argc={len(arguments)} {words}",
        f'type=CWD {{stamp}} cwd="{folder}"',
        f'type=PATH {{stamp}} item=0 name="{program}" inode=131 dev=08:01 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL',
    ])


def written(at: int, serial: int, account: str, program: str, path: str) -> bytes:
    """The lines of one audit event of a file that is made under the web root."""
    folder = path.rpartition("/")[0]
    return _audited(at, serial, [
        _call(account, 257, "openat", program.rpartition("/")[2], program, "webroot", 2201),
        f'type=CWD {{stamp}} cwd="{folder}"',
        f'type=PATH {{stamp}} item=0 name="{folder}/" inode=131 dev=08:01 mode=040755 ouid=0 ogid=0 rdev=00:00 nametype=PARENT',
        f'type=PATH {{stamp}} item=1 name="{path}" inode=140 dev=08:01 mode=0100644 ouid=33 ogid=33 rdev=00:00 nametype=CREATE',
    ])


def security(at: int, number: int, event: int, **data: str) -> bytes:
    """An event of Windows' Security log as flat JSON."""
    return _windows(at, number, event, "Security", "Microsoft-Windows-Security-Auditing", data)


def sysmon(at: int, number: int, event: int, **data: str) -> bytes:
    """An event of Sysmon as flat JSON."""
    time = from_micros(at).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return _windows(at, number, event, "Microsoft-Windows-Sysmon/Operational", "Microsoft-Windows-Sysmon", {"RuleName": "-", "UtcTime": time, **data})


def process(at: int, number: int, image: str, line: str, parent: str, *, user: str = "VHTT\\vanthu", original: str = "") -> bytes:
    """A program that starts on the Windows host, as Sysmon tells it."""
    name = image.rpartition("\\")[2]
    guid = f"{{b3f1c2d4-1111-{number & 0xFFFF:04x}-0100-000000000400}}"
    return sysmon(
        at, number, 1, ProcessGuid=guid, ProcessId=str(2000 + number % 9000), Image=image, OriginalFileName=original or name, CommandLine=line,
        CurrentDirectory="C:\\Users\\vanthu\\", User=user, IntegrityLevel="Medium", ParentProcessId="2544", ParentImage=parent,
        ParentCommandLine=f'"{parent}"', ParentUser=user)


def _local(at: int) -> datetime:
    return from_micros(at).astimezone(_LOCAL)


def _call(account: str, number: int, name: str, comm: str, program: str, key: str, parent: int) -> str:
    uid = _ACCOUNTS[account]
    login, session = (uid, "7") if account == "quantri" else (_UNSET, str(_UNSET))
    same = " ".join(f"{each}={uid}" for each in ("uid", "gid", "euid", "suid", "fsuid", "egid", "sgid", "fsgid"))
    names = " ".join(f'{each}="{account}"' for each in ("UID", "GID", "EUID", "SUID", "FSUID", "EGID", "SGID", "FSGID"))
    who = account if login == uid else "unset"
    return (f"type=SYSCALL {{stamp}} arch=c000003e syscall={number} success=yes exit=0 a0=55d4c1 a1=55d4c8 a2=55d4e0 a3=8 items=2 "
            f"ppid={parent} pid={parent + 1} auid={login} {same} tty=(none) ses={session} comm=\"{comm}\" exe=\"{program}\" "
            f'subj=unconfined key="{key}"{_ENRICHED}ARCH=x86_64 SYSCALL={name} AUID="{who}" {names}')


def _audited(at: int, serial: int, lines: Sequence[str]) -> bytes:
    stamp = f"msg=audit({at // 1_000_000}.{at // 1000 % 1000:03d}:{serial}):"
    return "\n".join(f"node={WEB_HOST} {line.replace('{stamp}', stamp)}" for line in lines).encode()


def _windows(at: int, number: int, event: int, channel: str, provider: str, data: dict[str, str]) -> bytes:
    time = from_micros(at).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return json.dumps({"@timestamp": time, "EventID": event, "Channel": channel, "SourceName": provider,
                       "Hostname": f"{DESKTOP}.vhtt.example", "RecordNumber": number, **data}, ensure_ascii=False).encode()
