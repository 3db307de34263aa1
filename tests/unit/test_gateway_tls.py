"""HTTPS and syslog over TLS with certificates of `soc tls init`."""
from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from soc.ingest.serve import Listen
from soc.tls import make_certificates


def test_both_listeners_speak_tls_and_nothing_else(start_gateway: Any, until: Any, tmp_path: Path) -> None:
    files = make_certificates(tmp_path / "tls", ["localhost", "127.0.0.1"], datetime.now(UTC))
    listen = Listen("127.0.0.1", 0, files.certificate, files.key)
    gateway = start_gateway(http=listen, syslog_tls=listen)
    trust = ssl.create_default_context(cafile=str(files.authority))
    with httpx.Client(base_url=gateway.url.replace("http:", "https:"), verify=trust, trust_env=False) as client:
        said = {"authorization": "Bearer soci_right", "content-type": "application/x-ndjson"}
        assert client.post("/ingest/v1/events", content=b"x\n", headers=said).status_code == 200
    plain = socket.create_connection(gateway.at.syslog_tls, timeout=10)
    with trust.wrap_socket(plain, server_hostname="localhost") as client:
        client.sendall(b"<13>over tls\n")
        assert until(lambda: len(gateway.intake.kept) == 2)
    with socket.create_connection(gateway.address, timeout=5) as plain:
        plain.sendall(b"GET /ingest/v1/health HTTP/1.1\r\nhost: x\r\n\r\n")
        try:
            assert not plain.recv(100).startswith(b"HTTP")
        except ConnectionResetError:
            pass
