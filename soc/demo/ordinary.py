"""An ordinary hour of the demonstration's hosts, by the rhythm of an office. The same seed gives the same bytes."""
from __future__ import annotations

import random
from typing import Final

from soc.demo.formats import BROWSER, DESKTOP, PORTAL, access, executed, process, security, syslog, sysmon
from soc.demo.line import HOUR, SECOND, Line
from soc.event import from_micros

__all__ = ["ordinary_hour"]

_PAGES: Final = (
    "/", "/tin-tuc/", "/tin-tuc/lich-tiep-cong-dan-thang-11", "/thu-tuc/ho-tich", "/dich-vu/tra-cuu", "/van-ban/quyet-dinh", "/lien-he",
    "/tin-tuc/ke-hoach-tiem-chung-mo-rong", "/uploads/2026/11/quyet-dinh-so-12.pdf", "/assets/site.css", "/assets/site.js", "/favicon.ico",
)
_ROBOT: Final = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
_PHONE: Final = "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36"
_PROGRAMS: Final = (
    ("C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe", "chrome.exe"),
    ("C:\\Program Files\\Microsoft Office\\root\\Office16\\WINWORD.EXE", "WinWord.exe"),
    ("C:\\Program Files\\Microsoft Office\\root\\Office16\\EXCEL.EXE", "Excel.exe"),
    ("C:\\Windows\\System32\\notepad.exe", "NOTEPAD.EXE"),
)
_EXPLORER: Final = "C:\\Windows\\explorer.exe"
_NAMES: Final = ("www.chinhphu.example", "mail.vhtt.example", "www.google.com", "update.microsoft.com")


def ordinary_hour(seed: int, start: int) -> list[Line]:
    """The records of the hour that begins at `start` (a whole hour, µs UTC), by time."""
    chance = random.Random(f"{seed}/{start // HOUR}")
    busy = _busy(start)
    number = (start // HOUR % 100_000) * 1000
    lines: list[Line] = []
    for place in range(round(8 + 60 * busy)):
        lines += _visit(chance, start + chance.randrange(HOUR), place)
    for place in range(4):
        at = start + place * HOUR // 4 + chance.randrange(5 * SECOND)
        lines.append(Line(at, "demo-linux", syslog(at, "CRON", 4000 + place, "(root) CMD (cd / && run-parts --report /etc/cron.hourly)")))
        lines.append(Line(at + SECOND, "demo-audit", executed(at + SECOND, number + place, "root", "/usr/bin/run-parts",
                                                              ["run-parts", "--report", "/etc/cron.hourly"], "/", parent=4000)))
    for place in range(round(6 * busy)):
        lines += _administered(chance, start + chance.randrange(HOUR - 30 * SECOND), 5000 + place)
    for place in range(round(2 + 22 * busy)):
        lines += _desk(chance, start + chance.randrange(HOUR - 30 * SECOND), number + 3 * place)
    if chance.random() < 0.08:
        at = start + chance.randrange(HOUR)
        lines.append(Line(at, "demo-windows", b'{"@timestamp": "%d", "EventID": 4624, "Channel": "Secu' % (at // SECOND), broken=True))
    return sorted((line for line in lines if line.at < start + HOUR), key=lambda line: (line.at, line.source, line.raw))


def _busy(start: int) -> float:
    """How busy the offices are: 1 on a working morning, little at night and at the week's end."""
    local = from_micros(start + 7 * HOUR)
    day = 0.25 if local.weekday() >= 5 else 1.0
    return day * (1.0 if 8 <= local.hour < 11 else 0.9 if 13 <= local.hour < 17 else 0.4 if 6 <= local.hour < 22 else 0.06)


def _visit(chance: random.Random, at: int, place: int) -> list[Line]:
    client = f"198.51.100.{chance.randrange(2, 250)}" if place % 7 else f"192.0.2.{chance.randrange(2, 40)}"
    page = chance.choice(_PAGES)
    status, size = (200, chance.randrange(900, 60_000)) if chance.random() < 0.96 else (404, 153)
    agent = chance.choice((BROWSER, BROWSER, _PHONE)) if place % 7 else _ROBOT
    return [Line(at, "demo-portal", access(at, client, "GET", page, status, size, agent, f"https://{PORTAL}/" if place % 3 else "-"))]


def _administered(chance: random.Random, at: int, pid: int) -> list[Line]:
    client, port = "10.20.1.12", chance.randrange(40_000, 60_000)
    command = chance.choice(("/usr/bin/systemctl status nginx", "/usr/bin/apt update", "/usr/bin/tail /var/log/nginx/error.log"))
    said = [
        ("sshd", pid, f"Accepted publickey for quantri from {client} port {port} ssh2: ED25519 SHA256:Wm3xT1kQ"),
        ("sshd", pid, "pam_unix(sshd:session): session opened for user quantri(uid=1000) by (uid=0)"),
        ("sudo", 0, f"quantri : TTY=pts/0 ; PWD=/home/quantri ; USER=root ; COMMAND={command}"),
        ("sshd", pid, "pam_unix(sshd:session): session closed for user quantri"),
    ]
    return [Line(at + 5 * place * SECOND, "demo-linux", syslog(at + 5 * place * SECOND, *each)) for place, each in enumerate(said)]


def _desk(chance: random.Random, at: int, number: int) -> list[Line]:
    image, original = chance.choice(_PROGRAMS)
    kind = chance.random()
    if kind < 0.5:
        return [Line(at, "demo-windows", process(at, number, image, f'"{image}"', _EXPLORER, original=original)),
                Line(at + SECOND, "demo-windows", security(
                    at + SECOND, number + 1, 4688, SubjectUserName="vanthu", SubjectDomainName="VHTT", NewProcessName=image,
                    ParentProcessName=_EXPLORER, CommandLine=f'"{image}"'))]
    if kind < 0.8:
        return [Line(at, "demo-windows", sysmon(
            at, number, 22, ProcessId="4410", QueryName=chance.choice(_NAMES), QueryStatus="0", QueryResults="::ffff:198.51.100.20;",
            Image=_PROGRAMS[0][0], User="VHTT\\vanthu"))]
    return [Line(at, "demo-windows", security(
        at, number, 4624, TargetUserName="vanthu", TargetDomainName="VHTT", LogonType=chance.choice(("2", "7")), IpAddress="-",
        WorkstationName=DESKTOP, LogonProcessName="User32", AuthenticationPackageName="Negotiate"))]
