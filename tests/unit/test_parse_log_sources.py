"""Sigma's log sources: what the table says, and that it knows every source the public rules ask for."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import yaml

from soc.normalise.logsources import LogSources, log_sources

NO_PARSER = {"file_access", "file_rename"}  # kernel file traces: no event log carries them


def test_channels_compare_without_case() -> None:
    assert (
        log_sources().windows("security", "4688")
        == log_sources().windows("SECURITY", "4688")
        == ("windows//security windows/process_creation/")
    )


@pytest.mark.parametrize(
    "channel, number, expected",
    [
        ("Microsoft-Windows-Sysmon/Operational", "13", "windows//sysmon windows/registry_event/ windows/registry_set/"),
        ("Microsoft-Windows-PowerShell/Operational", "4104", "windows//powershell windows/ps_script/"),
        ("PowerShellCore/Operational", "4104", "windows//powershell windows/ps_script/"),
        ("Windows PowerShell", "400", "windows//powershell-classic windows/ps_classic_start/"),
        ("Some-New-Channel/Operational", "1", "windows//"),
        ("", "1", "windows//"),
    ],
)
def test_channel_and_event_id_give_a_set(channel: str, number: str, expected: str) -> None:
    assert log_sources().windows(channel, number) == expected


def test_provider_stands_in_for_a_missing_channel() -> None:
    assert log_sources().windows("", "1", "Microsoft-Windows-Sysmon") == "windows//sysmon windows/process_creation/"


def test_linux_audit_and_cisco_sets() -> None:
    assert log_sources().linux("CRON") == "linux//cron linux//syslog"
    assert log_sources().linux("") == "linux//syslog"
    assert log_sources().audit(["SYSCALL", "EXECVE"]) == "linux//auditd linux/process_creation/"
    assert log_sources().cisco("BGP_SESSION") == "cisco//bgp cisco//syslog"
    assert log_sources().cisco("LINEPROTO") == "cisco//syslog"


def test_every_windows_source_of_the_public_rules_is_known(test_data: Path) -> None:
    pack = test_data / "sigma-rules.zip"
    if not pack.exists():
        pytest.skip("sigma-rules.zip is not here")
    tables = yaml.load(Path(log_sources_file()).read_text("utf-8"), Loader=yaml.CSafeLoader)["windows"]
    categories = {name for numbers in tables["categories"].values() for names in numbers.values() for name in names}
    unknown: set[str] = set()
    with zipfile.ZipFile(pack) as archive:
        for name in archive.namelist():
            if not name.endswith(".yml") or b"product: windows" not in (text := archive.read(name)):
                continue
            for rule in yaml.load_all(text, Loader=yaml.CSafeLoader):
                source = rule.get("logsource") or {}
                if source.get("product") == "windows":
                    unknown |= {source.get("service", "")} - set(tables["services"]) - {""}
                    unknown |= {source.get("category", "")} - categories - {""}
    assert unknown <= NO_PARSER


def log_sources_file() -> str:
    import soc.normalise.logsources as module

    return str(Path(module.__file__).with_suffix(".yml"))


def test_answers_do_not_grow_without_bound() -> None:
    sources = LogSources(yaml.load(Path(log_sources_file()).read_text("utf-8"), Loader=yaml.CSafeLoader))
    for n in range(60_000):
        sources.windows("x", str(n))
    assert len(sources._windows_answers) == 50_000
