"""Real senders, started with the lines that `soc source add --as` and `soc source lines` print."""
from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from elasticsearch import Elasticsearch, helpers

FAILED = "Failed password for root from 10.0.0.9 port 4 ssh2"


def program(name: str, package: str) -> str:
    """The path of a program; without it the test is skipped, but for the machine that has to have it."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        absent(f"{name} is not here: apt-get install {package}")
    return found


def absent(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def reached(centres: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, wait_for: Any) -> Iterator[Any]:
    """A running centre with certificates, and a syslog source for this machine, made for rsyslog over UDP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    centre = centres(SOC_SYSLOG__TLS_PORT=str(port))
    centre.soc("tls", "init", "--host", "localhost", "--host", "127.0.0.1")
    centre.start()

    def listening() -> bool:
        for one in (port, centre.gateway):
            socket.create_connection(("127.0.0.1", one), 1).close()
        return True

    wait_for(listening, 60)
    centre.lines = {"rsyslog-udp": centre.soc(
        "source", "add", "here", "--as", "rsyslog", "--over", "udp", "--address", "127.0.0.1").stdout}
    yield centre
    assert centre.stop() == 0


def lines(centre: Any, shipper: str, over: str) -> str:
    """What is printed for a program; nothing but the lines is on stdout."""
    known = centre.lines.get(f"{shipper}-{over}")
    return known or centre.soc("source", "lines", "here", "--as", shipper, "--over", over).stdout


def write_to_log(at: Path, message: str, wait_for: Any) -> None:
    """As a program logs: by the socket that the daemon listens on. It may still be starting."""
    def written() -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.connect(str(at))
            log.send(f"<38>Feb 28 16:10:11 sshd[7]: {message}".encode())
        return True

    wait_for(written, 30)


def stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def came(centre: Any, mark: str, wait_for: Any) -> dict[str, Any]:
    """The event with a mark in its text."""
    (found,) = wait_for(lambda: centre.json("events", "search", f'"{mark}"'), 45, 0.5)
    return found


@pytest.mark.parametrize("over", ["udp", "tcp", "tls"])
def test_rsyslog_with_the_printed_lines(reached: Any, wait_for: Any, tmp_path: Path, over: str) -> None:
    rsyslogd = program("rsyslogd", "rsyslog rsyslog-gnutls")
    configuration, log = tmp_path / "rsyslog.conf", tmp_path / "log"
    configuration.write_text(
        f'global(workDirectory="{tmp_path}")\nmodule(load="imuxsock" SysSock.Use="off")\n'
        f'input(type="imuxsock" Socket="{log}" ParseHostname="off")\n' + lines(reached, "rsyslog", over))
    with open(tmp_path / "said", "wb") as said:
        daemon = subprocess.Popen([rsyslogd, "-n", "-f", configuration, "-i", tmp_path / "pid"], stdout=said, stderr=said)
    try:
        write_to_log(log, f"{FAILED} rsyslog{over}", wait_for)
        event = came(reached, f"rsyslog{over}", wait_for)
    finally:
        stop(daemon)
    assert event["source.ip"] == "10.0.0.9", (tmp_path / "said").read_text()
    assert (event["soc.source"], event["process.name"]) == ("here", "sshd")
    assert event["event.original"].startswith("<38>1 ")


@pytest.mark.parametrize("over", ["udp", "tcp", "tls"])
def test_syslog_ng_with_the_printed_lines(reached: Any, wait_for: Any, tmp_path: Path, over: str) -> None:
    syslog_ng = program("syslog-ng", "syslog-ng-core")
    version = re.search(r"\((\d+\.\d+)", subprocess.run([syslog_ng, "--version"], capture_output=True, text=True, timeout=60).stdout)
    assert version
    configuration, log = tmp_path / "syslog-ng.conf", tmp_path / "log"
    printed = lines(reached, "syslog-ng", over).replace("disk-buffer(", f'disk-buffer(dir("{tmp_path}") ')  # not among the machine's own
    configuration.write_text(f'@version: {version[1]}\nsource s_src {{ unix-dgram("{log}"); }};\n{printed}')
    with open(tmp_path / "said", "wb") as said:
        daemon = subprocess.Popen(
            [syslog_ng, "-F", "-f", configuration, "-R", tmp_path / "persist", "-p", tmp_path / "pid", "-c", tmp_path / "control"],
            stdout=said, stderr=said)
    try:
        write_to_log(log, f"{FAILED} ng{over}", wait_for)
        event = came(reached, f"ng{over}", wait_for)
    finally:
        stop(daemon)
    assert event["source.ip"] == "10.0.0.9", (tmp_path / "said").read_text()
    assert (event["soc.source"], event["process.name"]) == ("here", "sshd")


@pytest.mark.parametrize("over", ["udp", "tcp"])
def test_logger_as_printed(reached: Any, wait_for: Any, over: str) -> None:
    program("logger", "bsdutils")
    command = lines(reached, "logger", over).replace("hello from", f"logger{over} from")
    subprocess.run(["sh", "-c", command], check=True, timeout=60)
    event = came(reached, f"logger{over}", wait_for)
    assert (event["soc.source"], event["process.name"]) == ("here", "soc")
    assert event["host.name"] == socket.gethostname()


def test_curl_as_printed_is_shown_by_the_command_that_waits(reached: Any, wait_for: Any, tmp_path: Path) -> None:
    """`soc source add --wait`: the line to copy comes at once, and the first event within seconds of its sending."""
    program("curl", "curl")
    (tmp_path / "events.jsonl").write_text('{"message": "a first event of its own"}\n')
    with subprocess.Popen([*command_of(reached), "source", "add", "by-curl", "--as", "curl", "--wait"], env=reached.environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
        assert waiting.stdout is not None
        try:
            line = waiting.stdout.readline()
            sent = time.monotonic()
            done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert '"count":1' in done.stdout.replace(" ", ""), done.stderr
            shown, said = waiting.communicate(timeout=60)
        finally:
            waiting.kill()
    assert waiting.returncode == 0, said
    assert "a first event of its own" in shown
    assert time.monotonic() - sent < 15  # 5 s are promised of a machine that does nothing else


def test_waiting_says_why_the_last_attempt_was_refused(reached: Any) -> None:
    reached.soc("source", "add", "by-nobody")
    trust = ssl.create_default_context(cafile=str(reached.data / "tls" / "ca.crt"))
    with socket.create_connection(("127.0.0.1", reached.gateway), 10) as plain, trust.wrap_socket(plain, server_hostname="localhost") as wire:
        wire.sendall(b"POST /ingest/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer soci_wrong\r\nContent-Length: 2\r\n\r\n{}")
        assert b" 401 " in wire.recv(1000)
    done = reached.soc("source", "wait", "by-nobody", "--for", "8", check=False)
    assert done.returncode == 1
    assert re.search(r"\d\d:\d\d:\d\d: an attempt from 127\.0\.0\.1 was refused.*the token is not valid.*soc source rotate", done.stderr)
    assert "Nothing came of by-nobody within 8 s" in done.stderr


def test_filebeats_lines_lead_the_elasticsearch_client_here(reached: Any, wait_for: Any) -> None:
    """The address, login and authority of the printed lines, used by Elasticsearch's own client."""
    printed = reached.soc("source", "add", "beats", "--as", "filebeat").stdout
    output = yaml.safe_load(printed)["output.elasticsearch"]
    with Elasticsearch(output["hosts"], basic_auth=(output["username"], output["password"]), ca_certs=output["ssl.certificate_authorities"][0],
                       request_timeout=60) as client:
        actions = ({"_op_type": "create", "_index": "filebeat", "_source": {
            "@timestamp": "2026-02-28T09:10:11.000Z", "message": f"Feb 28 16:10:11 web1 sshd[7]: {FAILED}", "mark": f"beat-{n}",
            "host": {"name": "web1"}, "log": {"file": {"path": "/var/log/auth.log"}}}} for n in range(250))
        assert helpers.bulk(client, actions, chunk_size=100) == (250, [])
    wait_for(lambda: reached.count("soc.source:beats") == 250, 45, 0.5)
    (event,) = reached.json("events", "search", "soc.source:beats beat-249")
    assert (event["host.name"], event["log.file.path"]) == ("web1", "/var/log/auth.log")


def test_rsyslogs_output_for_elasticsearch_delivers_through_a_restart(reached: Any, wait_for: Any, tmp_path: Path) -> None:
    """A bulk client in C: what it logs while the gateway is away comes when it is back."""
    rsyslogd = program("rsyslogd", "rsyslog rsyslog-elasticsearch")
    if not list(Path("/usr/lib").glob("*/rsyslog/omelasticsearch.so")) + list(Path("/usr/lib64/rsyslog").glob("omelasticsearch.so")):
        absent("rsyslog-elasticsearch is not here: apt-get install rsyslog-elasticsearch")
    output = yaml.safe_load(reached.soc("source", "add", "bulk-c", "--as", "filebeat").stdout)["output.elasticsearch"]
    configuration, log = tmp_path / "rsyslog.conf", tmp_path / "log"
    configuration.write_text(
        f'global(workDirectory="{tmp_path}")\nmodule(load="imuxsock" SysSock.Use="off")\nmodule(load="omelasticsearch")\n'
        f'input(type="imuxsock" Socket="{log}" ParseHostname="off" RateLimit.Interval="0")\n'
        'template(name="doc" type="list" option.jsonf="on") { property(outname="message" name="msg" format="jsonf") }\n'
        f'*.* action(type="omelasticsearch" server="https://127.0.0.1" serverport="{reached.gateway}" usehttps="on" uid="{output["username"]}" '
        f'pwd="{output["password"]}" tls.cacert="{output["ssl.certificate_authorities"][0]}" bulkmode="on" template="doc" searchIndex="soc" '
        'searchType="" action.resumeRetryCount="-1" action.resumeInterval="1" queue.type="LinkedList")\n')
    with open(tmp_path / "said", "wb") as said:
        daemon = subprocess.Popen([rsyslogd, "-n", "-f", configuration, "-i", tmp_path / "pid"], stdout=said, stderr=said)
    try:
        for number in range(100):
            write_to_log(log, f"bulkc-{number}", wait_for)
        wait_for(lambda: len(texts(reached, "bulk-c")) == 100, 60, 0.5)
        end_gateway(reached, signal.SIGTERM, wait_for)
        for number in range(100, 200):
            write_to_log(log, f"bulkc-{number}", wait_for)
        wait_for(lambda: len(set(texts(reached, "bulk-c"))) == 200, 90, 0.5)
    finally:
        stop(daemon)
    assert sorted(texts(reached, "bulk-c")) == sorted(f" bulkc-{number}" for number in range(200)), (tmp_path / "said").read_text()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
@pytest.mark.parametrize("set_up", [False, True], ids=["as-printed", "with-set-up"])
def test_filebeat_with_the_printed_lines_delivers_through_a_restart(
    reached: Any, wait_for: Any, tmp_path: Path, ending: signal.Signals, set_up: bool,
) -> None:
    """Nothing is lost. What was on its way when the gateway was killed may come twice: its answer was lost, and it has no number.

    With the set-up that the lines switch off left on, it is answered so that Filebeat sends all the same.
    """
    filebeat = shutil.which("filebeat", path=os.environ.get("PATH", "") + ":/usr/share/filebeat/bin")
    if filebeat is None:  # takes too long to build for every run
        pytest.skip("filebeat is not here: tests/e2e/build_filebeat.sh /usr/local/bin")
    name = f"beat-{ending.name.lower()}-{int(set_up)}"
    configuration, logs = tmp_path / "filebeat.yml", tmp_path / "log"
    configuration.write_text(reached.soc("source", "add", name, "--as", "filebeat").stdout)
    configuration.chmod(0o600)
    logs.mkdir()
    within = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else []),
              "sh", "-c", f'mount --bind "{logs}" /var/log && exec "$@"', "sh"]  # the lines name /var/log
    more = [word for key in ("template", "ilm") for word in ("-E", f"setup.{key}.enabled=true")] if set_up else []
    with open(tmp_path / "said", "wb") as said:
        daemon = subprocess.Popen([*within, filebeat, "-e", "-c", configuration, "--path.data", tmp_path / "data", "--path.home", tmp_path, *more],
                                  stdout=said, stderr=said)
    try:
        with open(logs / "auth.log", "w", buffering=1) as log:
            log.writelines(f"Feb 28 16:10:11 web1 sshd[7]: first {number}\n" for number in range(3))
            wait_for(lambda: len(texts(reached, name)) == 3, 60, 0.5)  # a short log, too
            log.writelines(f"Feb 28 16:10:11 web1 sshd[7]: then {number}\n" for number in range(397))
            end_gateway(reached, ending, wait_for)
            log.writelines(f"Feb 28 16:10:11 web1 sshd[7]: last {number}\n" for number in range(400))
        wait_for(lambda: len(set(texts(reached, name))) == 800, 120, 0.5)
    finally:
        stop(daemon)
    reached.settled()
    if ending is signal.SIGTERM:
        assert len(texts(reached, name)) == 800, "nothing twice"
    (event,) = reached.json("events", "search", f'soc.source:{name} "last 399"')[:1]
    assert (event["log.file.path"], event["agent.type"]) == ("/var/log/auth.log", "filebeat")


def texts(centre: Any, source: str) -> list[str]:
    """The messages of a source's events."""
    return [event["message"] for event in centre.json("events", "search", f"soc.source:{source}", "--limit", "1000")]


def end_gateway(centre: Any, ending: signal.Signals, wait_for: Any) -> None:
    """End the gateway's process; the supervisor starts another."""
    old = centre.pids()["gateway"]
    os.kill(old, ending)
    wait_for(lambda: centre.pids().get("gateway") not in (None, old), 60)


def command_of(centre: Any) -> list[str]:
    return [*centre.within, sys.executable, "-m", "soc.cli"]


def test_a_relay_is_split_with_a_preview_on_what_came(reached: Any, wait_for: Any) -> None:
    """`soc source relay`: tried on what came, then kept, and live for what comes after."""
    reached.soc("agency", "add", "edu")

    def send(mark: str) -> None:
        with socket.create_connection(("127.0.0.1", reached.syslog), 10) as wire:
            for host in ("c1.edu.vn", "c2.edu.vn", "elsewhere"):
                wire.sendall(f"<13>Feb 28 16:10:11 {host} app: {mark} of {host}\n".encode())
        wait_for(lambda: reached.count(f'"{mark} of"') == 3, 45, 0.5)

    send("before")
    tried = reached.json("source", "relay", "add", "here", "--host", "*.edu.vn", "--agency", "edu", "--dry-run")
    assert (tried[0]["records"], set(tried[0]["hosts"].split(", "))) == (2, {"c1.edu.vn 1", "c2.edu.vn 1"})
    assert (tried[1]["rule"], tried[1]["agency"], tried[1]["records"] > 0) == ("none fits", "unassigned", True)
    assert reached.json("source", "relay", "list", "here") == []
    reached.soc("source", "relay", "add", "here", "--host", "*.edu.vn", "--agency", "edu")
    time.sleep(3)  # live within 2 s
    send("after")
    found = {event["host.name"]: event["organization.id"] for event in reached.json("events", "search", '"after of"')}
    assert found == {"c1.edu.vn": "edu", "c2.edu.vn": "edu", "elsewhere": "unassigned"}
    assert reached.count('"before of" organization.id:edu') == 0, "what came before stays as it is"
    assert reached.json("source", "relay", "remove", "here", "1") == []
