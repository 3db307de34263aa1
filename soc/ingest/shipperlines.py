"""Ready configuration lines for the programs that send logs, with the centre's address and the source's token filled in.

Every way is tested by really starting the program with these lines, where the test machine has it; the others by their documentation.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from soc.errors import InputRefused
from soc.ingest.reach import Reach

__all__ = ["OVER", "SHIPPERS", "Lines", "kind_of_shipper", "lines_for"]

SHIPPERS = ("rsyslog", "syslog-ng", "logger", "curl", "filebeat", "winlogbeat", "fluent-bit", "vector")
"""The programs that lines are known for."""

OVER = ("udp", "tcp", "tls")
"""Ways of syslog."""

TOKEN = "$SOC_TOKEN"
"""What stands for the token where it is not known: only its hash is kept."""

_LOGS = ("/var/log/auth.log", "/var/log/syslog", "/var/log/secure", "/var/log/messages")
"""What Debian and Ubuntu (the first two), Rocky and RHEL write; each line stands in one of them."""

_MORE = "add others, such as /var/log/nginx/*.log"

_WINDOWS_CA = "C:/ProgramData/soc/ca.crt"

_SYSLOG = frozenset(("rsyslog", "syslog-ng", "logger"))


@dataclass(frozen=True, slots=True)
class Lines:
    """`text` is the content of `file` on the sender, or, without a file, a command. `then`: what to run, or see to, by turns."""

    text: str
    file: str = ""
    then: tuple[str, ...] = ()


def kind_of_shipper(shipper: str) -> str:
    """The kind that a source must have for a program to send to it. Raises InputRefused (unknown program)."""
    if shipper not in SHIPPERS:
        raise InputRefused(f"no lines are known for {shipper[:40]!r}", remedy=f"one of {', '.join(SHIPPERS)}")
    return "syslog" if shipper in _SYSLOG else "ndjson"


def lines_for(shipper: str, source: str, reach: Reach, *, over: str = "", token: str = "") -> Lines:
    """What points a program at the centre as that source. `over` (syslog): TLS where it is there, else TCP, if not given.

    Raises InputRefused: an unknown program or way, or one that the centre does not listen to.
    """
    if kind_of_shipper(shipper) == "syslog":
        return _syslog_lines(shipper, reach, over)
    if over:
        raise InputRefused(f"{shipper} sends over HTTP; only syslog is sent over {', '.join(OVER)}")
    return _BY_TOKEN[shipper](source, reach, token or TOKEN)


def _syslog_lines(shipper: str, reach: Reach, over: str) -> Lines:
    if not over:
        over = "tls" if reach.tls and shipper != "logger" else "tcp"
    if over not in OVER:
        raise InputRefused(f"no way of syslog {over[:20]!r}", remedy=f"one of {', '.join(OVER)}")
    if over == "tls" and shipper == "logger":
        raise InputRefused("logger speaks no TLS", remedy="--as rsyslog, or --over tcp")
    port = reach.tls if over == "tls" else reach.plain
    if not port:
        raise InputRefused(f"nothing listens for syslog over {over.upper()}", remedy=(
            "make certificates: soc tls init" if over == "tls" else "see syslog.enabled and syslog.plain, or --over tls"))
    made = _BY_ADDRESS[shipper](reach, over, port)
    if over == "tls" and reach.copy is not None:
        return Lines(made.text, made.file, (f"first copy {reach.copy} to the sender as {reach.ca}", *made.then))
    return made


def _rsyslog(reach: Reach, over: str, port: int) -> Lines:
    action = [
        'type="omfwd"', f'target="{reach.syslog}"', f'port="{port}"', f'protocol="{"udp" if over == "udp" else "tcp"}"',
        'template="RSYSLOG_SyslogProtocol23Format"']
    if over != "udp":
        action += ['TCP_Framing="octet-counted"', 'queue.type="LinkedList"', 'queue.filename="soc"', 'queue.maxDiskSpace="1g"',
                   'queue.saveOnShutdown="on"', 'action.resumeRetryCount="-1"']
    text = ""
    if over == "tls":
        if reach.ca:
            text = f'global(DefaultNetstreamDriverCAFile="{reach.ca}")\n'
        named = [f'StreamDriverPermittedPeers="{reach.name}"'] if reach.name else []
        action += ['StreamDriver="gtls"', 'StreamDriverMode="1"',
                   f'StreamDriverAuthMode="{"x509/name" if reach.name else "x509/certvalid"}"', *named]
    text += f"*.* action({' '.join(action)})\n"
    then = ("apt-get install rsyslog-gnutls",) if over == "tls" else ()
    return Lines(text, "/etc/rsyslog.d/90-soc.conf", (*then, "systemctl restart rsyslog"))


def _syslog_ng(reach: Reach, over: str, port: int) -> Lines:
    options = [f'"{reach.syslog}"', f"port({port})", f'transport("{over}")']
    if over == "tls":
        trust = f'ca-file("{reach.ca}") ' if reach.ca else 'ca-dir("/etc/ssl/certs") '
        options.append(f"tls({trust}peer-verify(required-trusted))")
    if over != "udp":
        options.append("disk-buffer(disk-buf-size(1073741824) reliable(no))")
    return Lines(
        f"destination d_soc {{ syslog({' '.join(options)}); }};\n"
        "log { source(s_src); destination(d_soc); };  # the source is s_sys on Rocky and RHEL\n",
        "/etc/syslog-ng/conf.d/90-soc.conf", ("systemctl restart syslog-ng",))


def _logger(reach: Reach, over: str, port: int) -> Lines:
    way = "--udp" if over == "udp" else "--tcp --octet-count"
    return Lines(f'logger --server {reach.syslog} --port {port} {way} --rfc5424 --tag soc "hello from $(hostname)"\n')


def _curl(source: str, reach: Reach, token: str) -> Lines:
    trust = f" --cacert {reach.ca}" if reach.ca and reach.https else ""
    return Lines(
        f'curl{trust} -H "Authorization: Bearer {token}" -H "Content-Type: application/x-ndjson" '
        f"--data-binary @events.jsonl {reach.url}/ingest/v1/events\n", "",
        (*_copied(reach), "events.jsonl holds one JSON object, or log line, a line"))


def _filebeat(source: str, reach: Reach, token: str) -> Lines:
    """Files are known by their inode: known by their first kilobyte, as newer Filebeats do it, a short log would not be read."""
    return Lines(
        f"filebeat.inputs:\n  - type: filestream\n    id: soc\n    paths: [{', '.join(_LOGS)}]  # {_MORE}\n"
        "    file_identity.native: ~\n    prospector.scanner.fingerprint.enabled: false\n" + _beat_output(source, reach, token),
        "/etc/filebeat/filebeat.yml", (*_copied(reach), "filebeat test config && systemctl restart filebeat"))


def _winlogbeat(source: str, reach: Reach, token: str) -> Lines:
    logs = ("Security", "System", "Application", "Microsoft-Windows-Sysmon/Operational", "Microsoft-Windows-PowerShell/Operational")
    there = replace(reach, ca=_WINDOWS_CA) if reach.copy is not None else reach
    return Lines(
        "winlogbeat.event_logs:\n" + "".join(f"  - name: {name}\n" for name in logs) + _beat_output(source, there, token),
        r"C:\Program Files\Winlogbeat\winlogbeat.yml", (*_copied(there), "Restart-Service winlogbeat"))


def _beat_output(source: str, reach: Reach, token: str) -> str:
    """What Filebeat and Winlogbeat have in common. Set-up is off: there are no templates or policies here."""
    trust = f'  ssl.certificate_authorities: ["{reach.ca}"]\n' if reach.ca and reach.https else ""
    return (
        "setup.template.enabled: false\nsetup.ilm.enabled: false\n"
        f'output.elasticsearch:\n  hosts: ["{reach.url}"]\n  username: "{source}"\n  password: "{token}"\n'
        f"  allow_older_versions: true\n  compression_level: 3\n{trust}")


def _fluent_bit(source: str, reach: Reach, token: str) -> Lines:
    """What is read waits on disk until it is acknowledged; a long line costs itself, not the rest of its file."""
    read = {
        "Name": "tail", "Path": ",".join(_LOGS), "DB": "/var/lib/fluent-bit/soc.db", "Read_from_Head": "On", "Key": "message",
        "Path_Key": "log.file.path", "Buffer_Max_Size": "1M", "Skip_Long_Lines": "On", "storage.type": "filesystem"}
    sent = {
        "Name": "es", "Match": "*", "Host": reach.gateway, "Port": str(reach.http), "HTTP_User": source, "HTTP_Passwd": token,
        "Index": "soc", "Suppress_Type_Name": "On", "Compress": "gzip", "Buffer_Size": "False", "Retry_Limit": "no_limits",
        "storage.total_limit_size": "1G"}
    if reach.https:
        sent |= {"tls": "On", "tls.verify": "On"} | ({"tls.ca_file": reach.ca} if reach.ca else {})
    text = "\n".join((
        _section("SERVICE", {"storage.path": "/var/lib/fluent-bit/storage"}), f"# {_MORE}\n" + _section("INPUT", read), _section("OUTPUT", sent)))
    return Lines(text, "/etc/fluent-bit/fluent-bit.conf", (*_copied(reach), "mkdir -p /var/lib/fluent-bit", "systemctl restart fluent-bit"))


def _vector(source: str, reach: Reach, token: str) -> Lines:
    """A file's place moves on when what was read is acknowledged. The version is said: Vector would ask for it with every start."""
    trust = f'    tls:\n      ca_file: "{reach.ca}"\n' if reach.ca and reach.https else ""
    return Lines(
        "data_dir: /var/lib/vector\n"
        f"sources:\n  soc_files:\n    type: file\n    include: [{', '.join(_LOGS)}]  # {_MORE}\n"
        "transforms:\n  soc_names:\n    type: remap\n    inputs: [soc_files]\n    source: |\n"
        '      .log.file.path = del(.file)\n      .host = {"name": .host}\n      ."@timestamp" = del(.timestamp)\n'
        f'sinks:\n  soc:\n    type: elasticsearch\n    inputs: [soc_names]\n    endpoints: ["{reach.url}"]\n'
        "    api_version: v8\n    mode: bulk\n    bulk:\n      action: create\n      index: soc\n    compression: gzip\n"
        f'    auth:\n      strategy: basic\n      user: "{source}"\n      password: "{token}"\n'
        f"    acknowledgements:\n      enabled: true\n{trust}",
        "/etc/vector/vector.yaml", (*_copied(reach), "vector validate && systemctl restart vector"))


def _section(name: str, options: Mapping[str, str]) -> str:
    return f"[{name}]\n" + "".join(f"    {key:<26}{value}\n" for key, value in options.items())


def _copied(reach: Reach) -> tuple[str, ...]:
    return (f"first copy {reach.copy} to the sender as {reach.ca}",) if reach.https and reach.copy is not None else ()


_BY_ADDRESS: dict[str, Callable[[Reach, str, int], Lines]] = {"rsyslog": _rsyslog, "syslog-ng": _syslog_ng, "logger": _logger}
_BY_TOKEN: dict[str, Callable[[str, Reach, str], Lines]] = {
    "curl": _curl, "filebeat": _filebeat, "winlogbeat": _winlogbeat, "fluent-bit": _fluent_bit, "vector": _vector}
