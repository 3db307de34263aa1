"""The lines of shippers that this machine does not have: they can be read, lead here, and set nothing up that is not here."""
from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import Centre

TOKEN = "$SOC_TOKEN"
LOGS = ["/var/log/auth.log", "/var/log/syslog", "/var/log/secure", "/var/log/messages"]


@pytest.fixture(scope="module")
def centre_with_tls(tmp_path_factory: pytest.TempPathFactory) -> Centre:
    made = Centre(tmp_path_factory.mktemp("lines"))
    made.soc("tls", "init", "--host", "soc.example.vn")
    made.soc("source", "add", "web-1")
    return made


def printed(centre: Centre, shipper: str) -> str:
    return centre.soc("source", "lines", "web-1", "--as", shipper, "--to", "soc.example.vn").stdout


def sections(text: str) -> list[tuple[str, dict[str, str]]]:
    """Fluent Bit's classic format: sections, and in them a key and its value a line, all indented alike."""
    found: list[tuple[str, dict[str, str]]] = []
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]"):
            found.append((line[1:-1], {}))
        elif line and not line.startswith("#"):
            assert line.startswith("    ") and line[4] != " "
            key, value = line.split(None, 1)
            assert key.lower() not in map(str.lower, found[-1][1]), "said once"
            found[-1][1][key] = value
    return found


@pytest.mark.parametrize("beat", ["filebeat", "winlogbeat"])
def test_a_beats_lines(centre_with_tls: Centre, beat: str) -> None:
    read = yaml.safe_load(printed(centre_with_tls, beat))
    output = read.pop("output.elasticsearch")
    assert output == {
        "hosts": [f"https://soc.example.vn:{centre_with_tls.gateway}"], "username": "web-1", "password": TOKEN, "compression_level": 3,
        "allow_older_versions": True,
        "ssl.certificate_authorities": ["/etc/soc/ca.crt" if beat == "filebeat" else "C:/ProgramData/soc/ca.crt"]}
    assert (read.pop("setup.template.enabled"), read.pop("setup.ilm.enabled")) == (False, False)
    if beat == "filebeat":
        assert read == {"filebeat.inputs": [{
            "type": "filestream", "id": "soc", "paths": LOGS, "file_identity.native": None, "prospector.scanner.fingerprint.enabled": False}]}
    else:
        assert {one["name"] for one in read.pop("winlogbeat.event_logs")} >= {"Security", "System", "Microsoft-Windows-Sysmon/Operational"}
        assert read == {}


def test_fluent_bits_lines(centre_with_tls: Centre) -> None:
    (_, service), (_, read), (_, sent) = found = sections(printed(centre_with_tls, "fluent-bit"))
    assert [name for name, _ in found] == ["SERVICE", "INPUT", "OUTPUT"]
    assert sent == {
        "Name": "es", "Match": "*", "Host": "soc.example.vn", "Port": str(centre_with_tls.gateway), "HTTP_User": "web-1", "HTTP_Passwd": TOKEN,
        "Index": "soc", "Suppress_Type_Name": "On", "Compress": "gzip", "Buffer_Size": "False", "Retry_Limit": "no_limits",
        "storage.total_limit_size": "1G", "tls": "On", "tls.verify": "On", "tls.ca_file": "/etc/soc/ca.crt"}
    assert read["Path"].split(",") == LOGS
    assert (read["Key"], read["Path_Key"]) == ("message", "log.file.path"), "as the fields are called here"
    assert (read["Read_from_Head"], read["Skip_Long_Lines"], read["storage.type"]) == ("On", "On", "filesystem")
    assert Path(read["DB"]).parent == Path(service["storage.path"]).parent


def test_vectors_lines(centre_with_tls: Centre) -> None:
    read = yaml.safe_load(printed(centre_with_tls, "vector"))
    assert read["sources"] == {"soc_files": {"type": "file", "include": LOGS}}
    ((name, remap),) = read["transforms"].items()
    assert (remap["type"], remap["inputs"]) == ("remap", ["soc_files"])
    assert remap["source"].splitlines() == ['.log.file.path = del(.file)', '.host = {"name": .host}', '."@timestamp" = del(.timestamp)']
    assert read["sinks"] == {"soc": {
        "type": "elasticsearch", "inputs": [name], "endpoints": [f"https://soc.example.vn:{centre_with_tls.gateway}"], "api_version": "v8",
        "mode": "bulk", "bulk": {"action": "create", "index": "soc"}, "compression": "gzip",
        "auth": {"strategy": "basic", "user": "web-1", "password": TOKEN}, "acknowledgements": {"enabled": True}, "tls": {"ca_file": "/etc/soc/ca.crt"}}}


@pytest.mark.parametrize("shipper", ["filebeat", "winlogbeat", "fluent-bit", "vector", "curl"])
def test_without_certificates_nothing_is_said_of_tls(tmp_path: Path, shipper: str) -> None:
    centre = Centre(tmp_path)
    text = centre.soc("source", "add", "web-1", "--as", shipper, "--to", "soc.example.vn").stdout
    assert "https" not in text
    assert "tls" not in text
    assert "ca.crt" not in text
    assert "soci_" in text
