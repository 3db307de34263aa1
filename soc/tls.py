"""Certificates: an authority and a server certificate of our own, and which files a listener uses."""
from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from soc.config import Config
from soc.errors import ConfigError, DuplicateError, NotFoundError, StoreError
from soc.setting import loopback

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["TlsFiles", "certificate_facts", "make_certificates", "tls_for"]

_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 397
"""As long as browsers accept of any authority."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a listener; `authority` is what clients must trust, if it is ours."""

    certificate: Path
    key: Path
    authority: Path | None = None


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What people ask of a certificate; `fingerprint` is SHA-256 in hex pairs."""

    subject: str
    names: tuple[str, ...]
    starts: datetime
    ends: datetime
    fingerprint: str


def tls_for(config: Config, data: Path, host: str, what: str) -> TlsFiles | None:
    """The files a listener on `host` uses: those configured, else those of `soc tls init`, else None on loopback.

    Raises ConfigError if `host` reaches beyond this machine and there are none, or a configured file is missing.
    """
    if config.tls.certificate:
        files = TlsFiles(Path(config.tls.certificate), Path(config.tls.key))
        missing = [f"tls: {path} is not there" for path in (files.certificate, files.key) if not path.is_file()]
        if missing:
            raise ConfigError(missing)
        return files
    files = TlsFiles(data / "tls" / "server.crt", data / "tls" / "server.key", data / "tls" / "ca.crt")
    if files.certificate.is_file() and files.key.is_file():
        return files
    if loopback(host):
        return None
    raise ConfigError([f"{what}.host: {host} reaches beyond this machine, which needs TLS: "
                       "run soc tls init, or set tls.certificate and tls.key"])


def make_certificates(folder: Path, hosts: Sequence[str], now: datetime, *, renew: bool = False) -> TlsFiles:
    """Make an authority and a server certificate for `hosts` in `folder` (0700; keys 0600).

    With `renew` the authority stays, so clients keep trusting; without hosts the old names stay too.
    Raises DuplicateError if certificates are there and `renew` is not asked, NotFoundError for renew without any.
    """
    files = TlsFiles(folder / "server.crt", folder / "server.key", folder / "ca.crt")
    there = (folder / "ca.crt").exists() and (folder / "ca.key").exists()
    if there and not renew:
        raise DuplicateError(f"certificates are in {folder} already", remedy="use --renew for a new one of the same authority")
    if renew and not there:
        raise NotFoundError(f"there is no authority in {folder} to renew from", remedy="leave out --renew")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if renew:
            authority, authority_key = _load(folder / "ca.crt"), _load_key(folder / "ca.key")
            hosts = hosts or certificate_facts(files.certificate).names
        else:
            authority, authority_key = _make_authority(now)
            _write_key(folder / "ca.key", authority_key)
            _write(folder / "ca.crt", _pem(authority), 0o644)
        certificate, key = _make_server(authority, authority_key, hosts, now)
        _write_key(files.key, key)
        _write(files.certificate, _pem(certificate), 0o644)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}", remedy="check the folder's owner and permissions") from error
    return files


def certificate_facts(path: Path) -> CertificateFacts:
    """Read the first certificate of a PEM file. Raises StoreError if there is none."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    certificate = _load(path)
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(str(name) for kind in (x509.DNSName, x509.IPAddress) for name in extension.get_values_for_type(kind))
    except x509.ExtensionNotFound:
        names = ()
    return CertificateFacts(
        subject=certificate.subject.rfc4514_string(), names=names, starts=certificate.not_valid_before_utc,
        ends=certificate.not_valid_after_utc, fingerprint=certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
    )


def _make_authority(now: datetime) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"SOC authority {now:%Y-%m-%d}")
    builder = _builder(name, name, key, now, _AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return _sign(builder.add_extension(_usage(authority=True), critical=True), key), key


def _make_server(
    authority: x509.Certificate, authority_key: EllipticCurvePrivateKey, hosts: Sequence[str], now: datetime,
) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    names = list(dict.fromkeys([*hosts, "localhost", "127.0.0.1", "::1"]))
    builder = _builder(_name(names[0]), authority.subject, key, now, _SERVER_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    return _sign(builder, authority_key), key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, now: datetime, days: int,
) -> x509.CertificateBuilder:
    from cryptography import x509

    starts = now.astimezone(UTC) - timedelta(hours=1)
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(starts).not_valid_after(starts + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _sign(builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography.hazmat.primitives import hashes

    return builder.sign(key, hashes.SHA256())


def _usage(*, authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=authority, crl_sign=authority, encipher_only=False, decipher_only=False)


def _name(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _general(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _load(path: Path) -> x509.Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} holds no readable certificate", remedy="make new ones with soc tls init") from error


def _load_key(path: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path} holds no readable key", remedy="remove the folder and make new certificates") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise StoreError(f"{path} holds a key of another kind", remedy="remove the folder and make new certificates")
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _write_key(path: Path, key: EllipticCurvePrivateKey) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace `path` whole; it is never readable by others, not even for a moment."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
