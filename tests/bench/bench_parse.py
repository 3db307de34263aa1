"""CPU seconds per million events of `parse_frame`, for each shape of record: ``python tests/bench/bench_parse.py [shape]``.

Windows uses the shared samples where they are (`SOC_TEST_DATA`), everything else is made here. Frames of 1,000 records;
the best of three runs, process time only.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from soc.event import FrameContext
from soc.normalise.records import Parsers

FRAME = 1000
EVENTS = 20_000


def shapes() -> Iterator[tuple[str, list[bytes]]]:
    """(name, records) of every shape."""
    shared = Path(os.environ.get("SOC_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if (shared / "windows-events.jsonl.zst").exists():
        yield "windows-events (flat)", _windows_events(shared)
    yield "windows evtx", [_EVTX % (n, n) for n in range(EVENTS)]
    yield "windows winlogbeat", [_WINLOGBEAT % n for n in range(EVENTS)]
    yield (
        "nginx combined",
        [
            b'203.0.%d.%d - - [10/Oct/2023:13:%02d:%02d +0700] "GET /p/%d?q=%d HTTP/1.1" 200 %d "https://example.vn/" '
            b'"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36"'
            % (n // 250 % 250, n % 250, n // 600 % 60, n // 10 % 60, n, n, n)
            for n in range(EVENTS)
        ],
    )
    yield (
        "apache common",
        [
            b'203.0.%d.%d - - [10/Oct/2023:13:%02d:%02d +0700] "GET /p/%d HTTP/1.1" 404 %d'
            % (n // 250 % 250, n % 250, n // 600 % 60, n // 10 % 60, n, n)
            for n in range(EVENTS)
        ],
    )
    yield (
        "apache error",
        [
            b"[Wed Oct 11 14:%02d:%02d.%06d 2023] [core:error] [pid 12:tid 34] [client 203.0.113.9:5678] AH00128: no file /x%d"
            % (n // 600 % 60, n // 10 % 60, n, n)
            for n in range(EVENTS)
        ],
    )
    yield (
        "syslog sshd",
        [
            b"Oct 11 22:%02d:%02d gate sshd[%d]: Failed password for invalid user u%d from 203.0.113.%d port %d ssh2"
            % (n // 600 % 60, n // 10 % 60, n, n, n % 250, 1024 + n)
            for n in range(EVENTS)
        ],
    )
    yield (
        "auditd",
        [
            b"type=SYSCALL msg=audit(1700000000.123:%d): arch=c000003e syscall=59 success=yes exit=0 "
            b"a0=55d0 a1=55d1 a2=55d2 a3=8 "
            b'items=2 ppid=1 pid=%d auid=1000 uid=0 gid=0 euid=0 tty=pts0 ses=3 comm="split" exe="/usr/bin/split" key="x"'
            % (n, n)
            for n in range(EVENTS)
        ],
    )
    yield (
        "cisco_ios",
        [
            b"<189>%d: Oct 11 22:%02d:%02d.123: %%SEC_LOGIN-4-LOGIN_FAILED: Login failed [user: u] "
            b"[Source: 203.0.113.7] [localport: 22]"
            % (n, n // 600 % 60, n // 10 % 60)
            for n in range(EVENTS)
        ],
    )
    yield (
        "json (ECS)",
        [
            b'{"@timestamp":"2024-01-01T00:00:00.%03dZ","source":{"ip":"203.0.113.%d","port":%d},"user":{"name":"u"},"tags":["a"],'
            b'"event":{"action":"x","dataset":"app.audit"},"message":"something happened","labels":{"a":"1","b":"2"}}'
            % (n % 1000, n % 250, n)
            for n in range(EVENTS)
        ],
    )
    yield "text", [b"something that nobody knows, number %d" % n for n in range(EVENTS)]


def measure(parsers: Parsers, records: list[bytes]) -> float:
    """The best CPU microseconds per event (= seconds per million) of three runs."""
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        for first in range(0, len(records), FRAME):
            part = records[first : first + FRAME]
            parsed = parsers.parse_frame(
                FrameContext("bench", "s", first, len(part), 1_700_000_000_000_000, 1_700_000_000_000_000), part
            )
            if len(parsed.events) != len(part):
                raise SystemExit(f"dead letters: {parsed.dead[:3]}")
        best = min(best, time.process_time() - started)
    return best / len(records) * 1e6


def _windows_events(shared: Path) -> list[bytes]:
    import zstandard

    with (shared / "windows-events.jsonl.zst").open("rb") as stream:
        data = zstandard.ZstdDecompressor().stream_reader(stream).read()
    return data.splitlines()


_EVTX = (
    b'{"Event":{"#attributes":{"xmlns":"http://schemas.microsoft.com/win/2004/08/events/event"},"System":{"Provider":{"#attributes":'
    b'{"Name":"Microsoft-Windows-Sysmon","Guid":"5770385F-C22A-43E0-BF4C-06F5698FFBD9"}},"EventID":1,"Version":5,"Level":4,"Task":1,'
    b'"Opcode":0,"Keywords":"0x8000000000000000","TimeCreated":{"#attributes":{"SystemTime":"2025-10-22T20:33:27.276702Z"}},'
    b'"EventRecordID":%d,"Correlation":null,"Execution":{"#attributes":{"ProcessID":3168,"ThreadID":4580}},'
    b'"Channel":"Microsoft-Windows-Sysmon/Operational","Computer":"pc-1","Security":{"#attributes":{"UserID":"S-1-5-18"}}},'
    b'"EventData":{"RuleName":"-","UtcTime":"2025-10-22 20:33:27.274","ProcessGuid":"5AB40FD1-3F97-68F9-5631-000000003B02",'
    b'"ProcessId":%d,"Image":"C:\\\\Windows\\\\System32\\\\whoami.exe","CommandLine":"whoami /all","CurrentDirectory":"C:\\\\",'
    b'"User":"PC-1\\\\lan","Hashes":"MD5=0123456789ABCDEF0123456789ABCDEF","ParentProcessId":8252,'
    b'"ParentImage":"C:\\\\Windows\\\\System32\\\\cmd.exe","ParentCommandLine":"cmd"}}}'
)
_WINLOGBEAT = (
    b'{"@timestamp":"2024-01-01T00:00:00.000Z","winlog":{"channel":"Security","event_id":4624,"record_id":%d,'
    b'"provider_name":"Microsoft-Windows-Security-Auditing","computer_name":"pc-1","keywords":["Audit Success"],'
    b'"process":{"pid":700,'
    b'"thread":{"id":1}},"event_data":{"TargetUserName":"lan","TargetDomainName":"PC","LogonType":"3","IpAddress":"203.0.113.1",'
    b'"IpPort":"5000"}},"event":{"code":"4624","provider":"Microsoft-Windows-Security-Auditing"},'
    b'"host":{"name":"pc-1"},"message":"ok"}'
)


def main() -> None:
    """Print one line per shape."""
    parsers = Parsers()
    for name, records in shapes():
        if len(sys.argv) < 2 or sys.argv[1] in name:
            print(f"{name:24} {len(records):7} events  {measure(parsers, records):6.1f} CPU s/M", flush=True)


if __name__ == "__main__":
    main()
