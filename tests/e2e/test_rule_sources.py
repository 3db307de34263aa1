"""Public rules of many log sources meet the records they are for, and not their neighbours; the others say why they cannot."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DEFENDER = {"Channel": "Microsoft-Windows-Windows Defender/Operational", "SourceName": "Microsoft-Windows-Windows Defender", "EventID": 1116}
CONNECT = "type=SYSCALL msg=audit(1709111412.1:78): arch=c000003e syscall=42 exe=\"/usr/bin/bash\" pid=9 saddr={saddr}"

FIRES = {
    "virus found by ClamAV": (
        "fdf135a2-9241-4f96-a114-bb404948f736", "Feb 29 08:01:00 m clamd[8]: /srv/x.php: Php.Webshell.A-1(44d88612fea8:68) FOUND",
        "Feb 29 08:01:00 m clamd[8]: /srv/x.php: Php.Webshell.A-1 OK"),
    "virus found by Defender": (
        "fa0c05b6-8ad3-468d-8231-c1cbccb64fba", DEFENDER | {"Threat Name": "HackTool:Win64/Mikatz.A"},
        DEFENDER | {"EventID": 5001, "Threat Name": "HackTool:Win64/Mikatz.A"}),
    "RPC firewall": (
        "0fcd1c79-4eeb-4746-aba9-1b458f7a79cb",
        {"Channel": "RPCFW", "EventID": 3, "InterfaceUuid": "1ff70682-0a51-30e8-076d-740be8cee98b", "OpNum": "1", "SourceName": "RPCFW"},
        {"Channel": "RPCFW", "EventID": 3, "InterfaceUuid": "1ff70682-0a51-30e8-076d-740be8cee98b", "OpNum": "5", "SourceName": "RPCFW"}),
    "database errors by syslog": (
        "8a670c6d-7189-4b1c-8017-a417ca84a086", "Feb 29 08:01:03 a postgres[8]: ERROR: Unclosed quotation mark",
        "Feb 29 08:01:03 a bash[8]: ERROR: Unclosed quotation mark"),
    "proxy": (
        "b494b165-6634-483d-8c47-2026a6c52372", {"event.dataset": "squid.log", "url.domain": "api.telegram.org", "user_agent.original": "curl"},
        {"event.dataset": "nginx.access", "url.domain": "api.telegram.org", "user_agent.original": "curl"}),
    "DNS": (
        "c64c5175-5189-431b-a55e-6d9882158251", {"event.dataset": "coredns.log", "dns.question.name": "api.telegram.org"},
        {"event.dataset": "coredns.log", "dns.question.name": "telegram.org"}),
    "DNS by Zeek": (
        "c64c5175-5189-431b-a55e-6d9882158251", {"event.dataset": "zeek.dns", "zeek.dns.query": "x", "dns.question.name": "api.telegram.org"},
        {"event.dataset": "zeek.http", "dns.question.name": "api.telegram.org"}),
    "firewall": (
        "881834a4-6659-4773-821e-1c151789d873", {"event.dataset": "iptables.log", "source.ip": "89.185.234.145"},
        {"event.dataset": "iptables.log", "source.ip": "89.185.234.146"}),
    "FortiGate": (
        "cd0a4943-0edd-42cf-b50c-06f77a10d4c1",
        {"event.dataset": "fortinet_fortigate.log", "fortinet": {"firewall": {"action": "Add", "cfgpath": "system.admin"}}},
        {"event.dataset": "fortinet_fortigate.log", "fortinet": {"firewall": {"action": "Edit", "cfgpath": "system.admin"}}}),
    "honeypot": (
        "512cff7a-683a-43ad-afe0-dd398e872f36", {"event.dataset": "opencanary.log", "logtype": 6001}, {"logtype": 6001}),
    "flows": (
        "7e4bfe58-4a47-4709-828d-d86c78b7cc1f", {"event.dataset": "network_traffic.flow", "destination.port": 21},
        {"event.dataset": "network_traffic.flow", "destination.port": 22}),
    "files made, by auditd": (
        "6c4e2f43-d94d-4ead-b64d-97e53fa2bd05",
        'type=PATH msg=audit(1709111411.9:77): item=1 name="/etc/cron.d/x" nametype=CREATE',
        'type=PATH msg=audit(1709111411.9:77): item=1 name="/etc/cron.d/x" nametype=DELETE'),
}


def text(record: object) -> str:
    return record if isinstance(record, str) else json.dumps(record)


def soc(folder: Path, *words: str) -> str:
    return subprocess.run([sys.executable, "-m", "soc.cli", "--data", str(folder / "data"), "rules", *words], capture_output=True, text=True,
                          cwd=folder, timeout=240, check=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}).stdout


@pytest.fixture(scope="module")
def hits(test_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    lines = [line for _, hit, near in FIRES.values() for line in (text(hit), text(near))]
    (folder / "records.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = json.loads(soc(folder, "match", str(test_data / "sigma-rules.zip"), "records.log", "--json"))
    return {(hit["rule_id"], hit["line"]) for hit in found}


@pytest.mark.parametrize("name", FIRES)
def test_a_public_rule_fires_on_its_record_and_not_on_the_next(name, hits):
    at = list(FIRES).index(name) * 2 + 1
    rule_id = FIRES[name][0]
    assert (rule_id, at) in hits
    assert (rule_id, at + 1) not in hits


def test_rules_that_cannot_fire_here_say_why(test_data, tmp_path):
    soc(tmp_path, "import", str(test_data / "sigma-rules.zip"))
    rows = json.loads(soc(tmp_path, "list", "--json"))
    why = {row["why_not"] for row in rows if not row["can_fire"]}
    assert len(rows) == 3780
    assert Counter(row["reason_off"].split()[0] for row in rows if not row["enabled"]) == {"placeholder": 25}
    assert json.loads(soc(tmp_path, "list", "--refused", "--json")) == []
    assert sum(not row["can_fire"] for row in rows) == 96
    assert why == {
        "no source here sends macos events", "no source here sends windows/file_access events",
        "no source here sends windows/file_rename events", "no source here sends qualys events",
        "no source here sends paloalto/file_event/globalprotect events", "no source here sends paloalto/appliance/globalprotect events",
        "no source here sends huawei events", "no source here sends juniper/bgp events"}
    sources = Counter(" ".join(row["why_not"].split()[4:-1]) for row in rows if not row["can_fire"])
    assert (sources["macos"], sources["windows/file_access"] + sources["windows/file_rename"]) == (75, 15)
    assert all(row["can_fire"] == (row["why_not"] == "") for row in rows)
