"""Certificates: made once, private, renewable, and demanded off loopback."""
from __future__ import annotations

import ssl
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from soc.config import Config, GatewayConfig, TlsConfig
from soc.errors import ConfigError, DuplicateError, NotFoundError, StoreError
from soc.tls import certificate_facts, make_certificates, tls_for

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def handshake(folder: Path, name: str) -> None:
    """Shake hands in memory as a client that trusts ca.crt and asks for `name`."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(folder / "server.crt", folder / "server.key")
    client_side = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.version() in ("TLSv1.2", "TLSv1.3")


def test_clients_that_trust_the_authority_accept_the_server(tmp_path: Path) -> None:
    make_certificates(tmp_path / "tls", ["soc.example.vn", "10.1.2.3"], datetime.now(UTC))
    for name in ("soc.example.vn", "10.1.2.3", "localhost"):
        handshake(tmp_path / "tls", name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path / "tls", "other.example.vn")


def test_keys_are_private(tmp_path: Path) -> None:
    make_certificates(tmp_path / "tls", ["a.example"], NOW)
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    for name in ("ca.key", "server.key"):
        assert stat.S_IMODE((tmp_path / "tls" / name).stat().st_mode) == 0o600


def test_existing_certificates_are_not_replaced_unasked(tmp_path: Path) -> None:
    make_certificates(tmp_path, ["a.example"], NOW)
    before = (tmp_path / "server.crt").read_bytes()
    with pytest.raises(DuplicateError, match="--renew"):
        make_certificates(tmp_path, ["b.example"], NOW)
    assert (tmp_path / "server.crt").read_bytes() == before


def test_renewal_keeps_authority_and_names(tmp_path: Path) -> None:
    make_certificates(tmp_path, ["a.example"], NOW)
    authority = (tmp_path / "ca.crt").read_bytes()
    old = certificate_facts(tmp_path / "server.crt")
    make_certificates(tmp_path, [], NOW + timedelta(days=300), renew=True)
    new = certificate_facts(tmp_path / "server.crt")
    assert (tmp_path / "ca.crt").read_bytes() == authority
    assert set(new.names) == set(old.names)
    assert new.ends - old.ends == timedelta(days=300)


def test_nothing_is_renewed_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        make_certificates(tmp_path, [], NOW, renew=True)


def test_loopback_needs_no_certificate_and_other_addresses_do(tmp_path: Path) -> None:
    config = replace(Config(), gateway=GatewayConfig(host="0.0.0.0"))
    assert tls_for(config, tmp_path, "127.0.0.1", "gateway") is None
    assert tls_for(config, tmp_path, "::1", "gateway") is None
    with pytest.raises(ConfigError, match="soc tls init"):
        tls_for(config, tmp_path, config.gateway.host, "gateway")
    made = make_certificates(tmp_path / "tls", ["a.example"], NOW)
    assert tls_for(config, tmp_path, config.gateway.host, "gateway") == made


def test_configured_certificates_must_be_there(tmp_path: Path) -> None:
    config = replace(Config(), tls=TlsConfig(certificate=str(tmp_path / "s.crt"), key=str(tmp_path / "s.key")))
    with pytest.raises(ConfigError) as caught:
        tls_for(config, tmp_path, "127.0.0.1", "gateway")
    assert len(caught.value.faults) == 2


def test_damaged_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "server.crt").write_text("-----BEGIN CERTIFICATE-----\nx\n")
    with pytest.raises(StoreError, match=r"server\.crt"):
        certificate_facts(tmp_path / "server.crt")
