"""What well-known Unix programs mean by their syslog messages: sshd, sudo, su, cron, account tools, systemd, PAM.

Only string searches and patterns of bounded length: lines are hostile and may be long.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from soc.event import Event
from soc.normalise.addresses import address

__all__ = ["understand"]

_LONGEST: Final = 8192
"""Characters of a message that are looked at; the whole of it is kept as `message` anyway."""

_FROM: Final = re.compile(r"from (?:UNKNOWN|([0-9A-Fa-f.:%\w-]{2,64}))(?: port (\d{1,5}))?")
_NAMED: Final = re.compile(r"(?:invalid|authenticating|from|by) user (\S{1,128}) \S")
_PAM: Final = re.compile(r"pam_(\w{1,32})\(([\w.-]{1,64}):(\w{1,32})\): ")
_PAM_FIELD: Final = re.compile(r"(logname|uid|euid|tty|ruser|rhost|user)=(\S{0,255})")
_SESSION: Final = re.compile(
    r"session (opened|closed) for user (\S{1,128}?)(?:\(uid=\d{1,10}\))?(?: by (\S{0,128}?)\(uid=(\d{1,10})\))?\s*$")
_ACCOUNT: Final = re.compile(r"name=([^,\s]{1,128})(?:, (?:UID|GID)=(\d{1,10}))?")
_QUOTED: Final = re.compile(r"[`'‘\"]([^'’\"]{1,128})['’\"]")
_CRON: Final = re.compile(r"\(([^)]{1,128})\) ([A-Z][A-Z ]{1,32}) \((.*)\)\s*$", re.DOTALL)
_UNIT: Final = re.compile(
    r"(Starting|Started|Stopping|Stopped|Reloading|Reloaded|Finished|Failed to start|Removed|Created) (.{1,256}?)\.?$")
_SU: Final = re.compile(r"\(to (\S{1,128})\) (\S{1,128}) on (\S{1,128})")
_SU_OLD: Final = re.compile(r"(FAILED SU|Successful su|FAILED su) (?:for |\(to )(\S{1,128}?)\)? (?:by )?(\S{1,128})")
_CLAM: Final = re.compile(r"(.{1,4096}?): (\S{1,256}?)(?:\([0-9A-Fa-f:]{1,80}\))? FOUND\s*$")
_SUDO_FIELD: Final = re.compile(r"(?:^|; )(TTY|PWD|USER|GROUP|ENV|TSID)=([^;]{0,1024})")


def understand(program: str, module: str, message: str, event: Event) -> None:
    """Add what the message means (`event.category`, `.action`, `.outcome`, `user.*`, `source.*` …) to its event."""
    text = message if len(message) <= _LONGEST else message[:_LONGEST]
    pam = _PAM.match(text)
    if pam is not None:
        event["linux.pam.module"], event["linux.pam.type"] = pam[1], pam[3]
        _pam(text[pam.end():], event)
        return
    if module.startswith("pam_"):
        event["linux.pam.module"] = module[4:]
        _pam(text, event)
        return
    reader = _READERS.get(program.lower())
    if reader is not None:
        reader(text, event)


def _say(event: Event, category: str, action: str, outcome: str = "") -> None:
    event["event.category"] = category
    event["event.action"] = action
    if outcome:
        event["event.outcome"] = outcome


def _origin(event: Event, where: str, port: str | None = None) -> None:
    """A peer: an address or, where names were resolved, a name."""
    found = address(where)
    if found:
        event["source.ip"] = found
    elif where:
        event["source.domain"] = where
    if where:
        event["source.address"] = where
    if port:
        event["source.port"] = int(port)


def _pam(text: str, event: Event) -> None:
    if text.startswith("authentication failure"):
        _say(event, "authentication", "authentication-failure", "failure")
        for field in _PAM_FIELD.finditer(text):
            name, value = field[1], field[2]
            if not value:
                continue
            event[f"linux.pam.{name}"] = value
            if name == "rhost":
                _origin(event, value)
            elif name == "user":
                event["user.name"] = value
    elif (session := _SESSION.search(text[:1024])) is not None:
        _say(event, "session", f"session-{session[1]}", "success")
        event["user.name"] = session[2]
        if session[3]:
            event["linux.pam.by"] = session[3]
    elif text.startswith("check pass; user unknown"):
        _say(event, "authentication", "unknown-user", "failure")
    elif text.startswith("password changed for "):
        _say(event, "iam", "password-changed", "success")
        event["user.name"] = text[21:].strip()[:128]


def _sshd(text: str, event: Event) -> None:
    repeated = text.startswith("message repeated ")
    if repeated:
        text = text.partition("[ ")[2].removesuffix("]")
    first = text.partition(" ")[0]
    if first in ("Failed", "Accepted") and " for " in text:
        method, _, rest = text[len(first) + 1:].partition(" for ")
        who, _, where = rest.rpartition(" from ")
        ok = first == "Accepted"
        _say(event, "authentication", "ssh-login" if ok else "ssh-login-failed", "success" if ok else "failure")
        event["sshd.method"] = method
        if who.startswith("invalid user "):
            who = who[13:]
            event["sshd.invalid_user"] = "true"
        if who:
            event["user.name"] = who
        _peer(event, f"from {where}")
    elif text.startswith(("Invalid user ", "Illegal user ")):
        who, _, where = text[13:].rpartition(" from ")
        _say(event, "authentication", "ssh-invalid-user", "failure")
        event["user.name"] = who
        event["sshd.invalid_user"] = "true"
        _peer(event, f"from {where}")
    elif "input_userauth_request: invalid user " in text:
        _say(event, "authentication", "ssh-invalid-user", "failure")
        event["user.name"] = text.partition("invalid user ")[2].removesuffix(" [preauth]")
    elif text.startswith(("Connection from ", "Connection closed by", "Connection reset by", "Disconnected from",
                          "Received disconnect from", "Did not receive identification", "error: Received disconnect")):
        _say(event, "network", "ssh-connected" if text.startswith("Connection from") else "ssh-disconnected")
        _peer(event, text.replace(" by ", " from ", 1))
        named = _NAMED.search(text[:512])
        if named is not None and "source.address" in event:
            event["user.name"] = named[1]
    elif text.startswith(("Disconnecting", "error: maximum authentication attempts", "error: PAM:", "PAM ")):
        failed = "more authentication failure" in text or "uthentication" in text
        _say(event, "authentication" if failed else "network", "ssh-login-failed" if failed else "ssh-disconnected",
             "failure" if failed else "")
        for field in _PAM_FIELD.finditer(text):
            if field[1] == "rhost" and field[2]:
                _origin(event, field[2])
            elif field[1] == "user" and field[2]:
                event["user.name"] = field[2]
        if "source.address" not in event:
            _peer(event, text)
        who = text.partition(" exceeded for ")[2].removeprefix("invalid user ").rpartition(" from ")[0]
        if who:
            event["user.name"] = who
    elif "POSSIBLE BREAK-IN ATTEMPT" in text:
        _say(event, "intrusion_detection", "ssh-reverse-mapping-failed")
        inside = text.partition("[")[2].partition("]")[0]
        if address(inside):
            _origin(event, inside)
    elif text.startswith("Server listening on "):
        _say(event, "process", "ssh-listening")
    elif text.startswith("User ") and " not allowed because " in text:
        _say(event, "authentication", "ssh-login-failed", "failure")
        event["user.name"] = text[5:].partition(" from ")[0].partition(" not allowed")[0]
        _peer(event, text)


def _peer(event: Event, text: str) -> None:
    """The last ``from X port N`` of the text."""
    at = text.rfind("from ")
    m = _FROM.match(text, at) if at >= 0 else None
    if m is not None and m[1]:
        where = m[1].rstrip(":")
        found = address(where)
        if found or "." in where:
            _origin(event, where, m[2])
            return
    words = [word for word in text.split()[:32] if address(word)]
    if words and "source.address" not in event:
        after = text.partition(f"{words[0]} port ")[2].partition(" ")[0].rstrip(":")
        _origin(event, words[0], after if after.isdecimal() and after.isascii() and len(after) < 6 else None)


def _sudo(text: str, event: Event) -> None:
    who, colon, rest = text.partition(" : ")
    if not colon:
        return
    event["user.name"] = who.strip()
    head, marker, command = rest.partition("COMMAND=")
    for field in _SUDO_FIELD.finditer(head):
        value = field[2].strip()
        if field[1] == "USER":
            event["user.effective.name"] = value
        elif field[1] == "PWD":
            event["process.working_directory"] = value
        event[f"sudo.{field[1].lower()}"] = value
    refused = any(sign in head for sign in ("incorrect password", "NOT in sudoers", "not allowed", "a password is required",
                                            "authentication failure"))
    if marker:
        event["process.command_line"] = command
        event["sudo.command"] = command
    _say(event, "process" if not refused else "authentication", "sudo-command" if not refused else "sudo-refused",
         "failure" if refused else "success")
    reason = head.partition(" ; ")[0].strip()
    if refused:
        event["event.reason"] = reason[:256]


def _su(text: str, event: Event) -> None:
    m = _SU.search(text[:1024])
    if m is not None:
        failed = "FAILED" in text[: m.start()]
        _say(event, "authentication", "su-failed" if failed else "su", "failure" if failed else "success")
        event["user.effective.name"], event["user.name"] = m[1], m[2]
        return
    old = _SU_OLD.search(text[:1024])
    if old is not None:
        failed = old[1].startswith("FAILED")
        _say(event, "authentication", "su-failed" if failed else "su", "failure" if failed else "success")
        event["user.effective.name"], event["user.name"] = old[2], old[3]


def _cron(text: str, event: Event) -> None:
    m = _CRON.match(text)
    if m is None:
        return
    event["user.name"] = m[1]
    event["cron.action"] = m[2]
    if m[2] == "CMD":
        _say(event, "process", "cron-command", "success")
        event["process.command_line"] = m[3]
    elif m[2] in ("REPLACE", "BEGIN EDIT", "END EDIT", "LIST", "DELETE"):
        _say(event, "configuration", f"crontab-{m[2].lower().replace(' ', '-')}", "success")
    else:
        _say(event, "process", "cron-" + m[2].lower().replace(" ", "-"))


def _account(verb: str, kind: str) -> Callable[[str, Event], None]:
    """A reader for one of the shadow tools."""
    def read(text: str, event: Event) -> None:
        m = _ACCOUNT.search(text[:1024])
        quoted = [found[1] for found in _QUOTED.finditer(text[:1024])]
        name = m[1] if m is not None else quoted[0] if quoted else ""
        if not name:
            return
        failed = text.startswith(("failed", "cannot"))
        membership = m is None and (" to group" in text or " from group" in text or " to shadow group" in text)
        what = "group" if kind == "group" or "group" in text.partition("name=")[0].partition("'")[0] else kind
        action = ("add" if text.startswith("add") else "remove") + "-group-member" if membership else f"{verb}-{what}"
        _say(event, "iam", action, "failure" if failed else "success")
        field = "group" if what == "group" and not membership else "user"
        event[f"{field}.name"] = name
        if m is not None and m[2]:
            event[f"{field}.id"] = m[2]
        if membership and len(quoted) > 1:
            event["group.name"] = quoted[-1]
    return read


def _passwd(text: str, event: Event) -> None:
    if "password changed for " in text:
        _say(event, "iam", "password-changed", "success")
        event["user.name"] = text.partition("password changed for ")[2].strip()[:128]


def _systemd(text: str, event: Event) -> None:
    m = _UNIT.match(text[:1024].strip())
    if m is not None:
        verb = m[1].lower().replace(" ", "-")
        failed = verb.startswith("failed")
        _say(event, "process", f"unit-{verb}", "failure" if failed else "success")
        event["service.name"] = m[2].partition(" - ")[0]
    elif ": Failed with result" in text or "entered failed state" in text:
        _say(event, "process", "unit-failed", "failure")
        event["service.name"] = text.removeprefix("Unit ").partition(": ")[0].partition(" entered")[0]


def _logind(text: str, event: Event) -> None:
    if text.startswith("New session ") and " of user " in text:
        _say(event, "session", "session-opened", "success")
        event["user.name"] = text.partition(" of user ")[2].rstrip(". ")
    elif text.startswith(("Removed session ", "Session ")):
        _say(event, "session", "session-closed")


def _login(text: str, event: Event) -> None:
    if text.startswith("ROOT LOGIN"):
        _say(event, "authentication", "login", "success")
        event["user.name"] = "root"
    elif text.startswith("FAILED LOGIN"):
        _say(event, "authentication", "login-failed", "failure")
        name = text.partition(" FOR ")[2].partition(",")[0].strip(" '‘’`")
        if name:
            event["user.name"] = name
        _peer(event, text.replace(" FROM ", " from "))


def _ftpd(text: str, event: Event) -> None:
    if text.startswith("connection from "):
        _say(event, "network", "ftp-connected")
        _peer(event, text[:256].partition(" (")[0])


def _clam(text: str, event: Event) -> None:
    """``/path/of/file: Signature.Name FOUND``."""
    found = _CLAM.match(text)
    if found is not None:
        _say(event, "malware", "malware-found")
        event["file.path"], event["clamav.signature"] = found[1], found[2]


_READERS: Final[dict[str, Callable[[str, Event], None]]] = {
    "clamav": _clam,
    "clamd": _clam,
    "clamscan": _clam,
    "sshd": _sshd,
    "sshd-session": _sshd,
    "sudo": _sudo,
    "su": _su,
    "cron": _cron,
    "crond": _cron,
    "crontab": _cron,
    "anacron": _cron,
    "useradd": _account("add", "user"),
    "usermod": _account("change", "user"),
    "userdel": _account("delete", "user"),
    "groupadd": _account("add", "group"),
    "groupmod": _account("change", "group"),
    "groupdel": _account("delete", "group"),
    "passwd": _passwd,
    "chpasswd": _passwd,
    "systemd": _systemd,
    "systemd-logind": _logind,
    "login": _login,
    "ftpd": _ftpd,
}
