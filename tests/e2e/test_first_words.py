"""What `soc serve` says at its start: how to reach it from elsewhere, and of a port that is taken."""
from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from soc.commands.centre import Options
from soc.commands.greeting import afar, shown_host
from soc.commands.ports import Port, refuse_taken
from soc.config import Config
from soc.errors import InputRefused


def test_a_taken_port_is_one_line_with_the_command_that_helps(centre: Any, wait_for: Any) -> None:
    with socket.create_server(("127.0.0.1", centre.console)):
        refused = centre.soc("serve", check=False)
    assert refused.returncode == 1
    first, second = refused.stderr.strip().splitlines()[-2:]
    assert first == f"error: 127.0.0.1:{centre.console} (console.port) is taken by another program"
    assert f"ss -ltnp 'sport = :{centre.console}'" in second
    other = re.search(r"SOC_CONSOLE__PORT=(\d+) in front of the same command", second)
    assert other is not None
    centre.environment["SOC_CONSOLE__PORT"] = other[1]
    centre.environment.pop("INVOCATION_ID", None)  # the tests may be a service themselves
    centre.start()
    said = wait_for(lambda: "Set-up    " in centre.log.read_text() and centre.log.read_text(), 60)
    assert f"http://127.0.0.1:{other[1]}/setup?token=" in said
    wait_for(lambda: "Network   " in centre.log.read_text(), 20)
    said = centre.log.read_text()
    assert f"Remote    ssh -L {other[1]}:127.0.0.1:{other[1]} " in said
    assert "tls init --host" in said
    assert "SOC_CONSOLE__HOST=0.0.0.0" in said
    assert centre.stop() == 0


def test_listening_to_others_without_certificates_is_refused_before_anything_is_touched(centre: Any) -> None:
    centre.environment["SOC_CONSOLE__HOST"] = "0.0.0.0"
    refused = centre.soc("serve", check=False)
    assert refused.returncode == 1
    assert "console.host: 0.0.0.0 reaches beyond this machine, which needs TLS: run soc tls init" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not centre.data.exists()


def test_a_port_that_comes_free_is_waited_for() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = Port("console", "console.port", *taken.getsockname(), socket.SOCK_STREAM)
    with pytest.raises(InputRefused, match="is taken"):
        refuse_taken([port], patience=0.2)
    taken.close()
    refuse_taken([port], patience=0.2)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(InputRefused, match=r"gateway\.port") as refused:
        refuse_taken([Port("gateway", "gateway.port", "192.0.2.1", 8081, socket.SOCK_STREAM)], patience=0.1)
    assert "gateway.host" in refused.value.remedy


def test_over_ssh_the_address_that_was_used_is_the_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "203.0.113.9 50000 198.51.100.7 22")
    monkeypatch.setenv("SOC_STARTED_AS", "make run")
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    remote, network = afar(Config(), Options(Path("data"), None, False), ["console"], certificates=False)
    assert remote.startswith("Remote    ssh -L 8080:127.0.0.1:8080 ")
    assert "@198.51.100.7 " in remote
    assert "tls init --host 198.51.100.7 && SOC_CONSOLE__HOST=0.0.0.0 SOC_GATEWAY__HOST=0.0.0.0 make run" in network
    assert list(afar(Config(), Options(Path("data"), None, False), ["gateway"], certificates=False)) == []
    monkeypatch.setenv("INVOCATION_ID", "0123")
    _, network = afar(Config(), Options(Path("/var/lib/soc"), None, False), ["console"], certificates=True)
    assert "restart the service" in network
    assert "make run" not in network


def test_every_address_is_shown_as_a_name_that_can_be_opened() -> None:
    assert shown_host("0.0.0.0", None) == socket.gethostname()
    assert shown_host("::", None) == socket.gethostname()
    assert shown_host("::1", None) == "[::1]"
    assert shown_host("soc.example", None) == "soc.example"
