"""The public rule release: fetched from its address under caps, its checksum compared, kept as a zip until it is imported.

It is never part of this repository: whoever runs a centre fetches it, or brings its zip.
"""
from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

from soc.errors import InputRefused, TooLargeError
from soc.setting import loopback

__all__ = ["MAX_BYTES", "Release", "fetch_release"]

MAX_BYTES: Final = 64 * 1024 * 1024
"""Largest zip of rules that is taken; the public one has 4 MB."""
_PATIENCE: Final = 20.0
_LONGEST: Final = 900.0
_CHUNK: Final = 1 << 16
_TAG: Final = re.compile(r"/releases/download/([^/]{1,100})/")
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")

Told = Callable[[int, int], None]
"""Gets (bytes so far, of all; 0 if nobody says)."""


@dataclass(frozen=True, slots=True)
class Release:
    """What was fetched: where it lies, the address it came from in the end, its version as the address tells it ("" if not)."""

    path: Path
    address: str
    version: str
    sha256: str
    size: int


def fetch_release(address: str, to: Path, *, sha256: str = "", progress: Told | None = None) -> Release:
    """Fetch the zip at `address` into the file `to`, following redirects; with `sha256` nothing else is taken.

    HTTP without TLS needs a checksum, unless it stays on this machine. Raises InputRefused (TooLargeError); then `to` is gone.
    """
    _check_address(address, sha256)
    began, seen = time.monotonic(), _Redirects(sha256)
    direct = [urllib.request.ProxyHandler({})] if loopback(urlsplit(address).hostname or "") else []  # no proxy reaches this machine's own
    opener = urllib.request.build_opener(seen, *direct)
    try:
        with opener.open(urllib.request.Request(address, headers={"User-Agent": "soc"}), timeout=_PATIENCE) as answer:
            digest, size = _keep(answer, to, address, began, progress)
    except InputRefused:
        to.unlink(missing_ok=True)
        raise
    except (OSError, http.client.HTTPException, ValueError) as fault:
        to.unlink(missing_ok=True)
        raise _refusal(fault, address) from None
    if sha256 and digest != sha256.lower():
        to.unlink()
        raise InputRefused(f"what came from {address} is not the release that rules.release_sha256 names: its SHA-256 is {digest}",
                           remedy="if you meant another version, set rules.release_url and rules.release_sha256 to it together")
    tags = [found[1] for one in (address, *seen.passed) if (found := _TAG.search(one))]
    return Release(to, (address, *seen.passed)[-1].partition("?")[0], tags[-1] if tags else "", digest, size)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, each to an address that would have been taken itself."""

    max_redirections = 5

    def __init__(self, sha256: str) -> None:
        self._sha256 = sha256
        self.passed: list[str] = []

    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_address(newurl, self._sha256)
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise InputRefused(f"{req.full_url} leads to {newurl}, which is not encrypted", remedy="set rules.release_url to another address")
        self.passed.append(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(address: str, sha256: str) -> None:
    parts = urlsplit(address)
    if parts.scheme not in ("https", "http") or not parts.hostname or any(ord(c) <= 32 or ord(c) > 126 for c in address):
        raise InputRefused(f"{address[:300]!r} is no address of a rule release", remedy="set rules.release_url to an https address")
    if parts.scheme == "http" and not sha256 and not loopback(parts.hostname):
        raise InputRefused(f"{address[:300]} is not encrypted, so anybody on the way could change the rules",
                           remedy="use https, or set rules.release_sha256 to the checksum of the release")


def _keep(answer: Any, to: Path, address: str, began: float, progress: Told | None) -> tuple[str, int]:
    said = answer.headers.get("content-length", "")
    total = int(said) if said.isdigit() else 0
    digest, size = hashlib.sha256(), 0
    with open(to, "wb", opener=_private) as file:
        while chunk := answer.read(_CHUNK):
            if size == 0 and not chunk.startswith(_ZIP):
                raise InputRefused(f"what {address} answers is no zip", remedy="set rules.release_url to the address of the zip itself")
            size += len(chunk)
            if max(size, total) > MAX_BYTES:
                raise TooLargeError(f"what {address} answers is larger than {MAX_BYTES >> 20} MiB", remedy="a release of rules has a few MB")
            if time.monotonic() - began > _LONGEST:
                raise InputRefused(f"{address} was not there after a quarter of an hour", remedy=_BY_HAND)
            digest.update(chunk)
            file.write(chunk)
            if progress is not None:
                progress(size, total)
    if size < total or not size:
        raise InputRefused(f"{address} ended after {size} of {total} bytes", remedy="try again")
    return digest.hexdigest(), size


_BY_HAND: Final = "fetch the zip on another machine and drop it on the page of rule packs; `soc rules import FILE` does the same"
_UNREACHED: Final = (
    "behind a proxy start the centre with HTTPS_PROXY=http://PROXY:PORT; without internet fetch the zip on another machine and drop it on the "
    "page of rule packs (`soc rules import FILE` does the same)")
_WRONG: Final = "see whether rules.release_url is right; or fetch the zip on another machine and drop it on the page of rule packs"
_UNTRUSTED: Final = (
    "where a proxy opens TLS, its authority has to be trusted by this machine (SSL_CERT_FILE=/path/to/authority.pem); or fetch the zip on another "
    "machine and drop it on the page of rule packs")


def _refusal(fault: Exception, address: str) -> InputRefused:
    reason: object = getattr(fault, "reason", fault)
    host = urlsplit(address).hostname
    if isinstance(fault, urllib.error.HTTPError):
        fault.close()
        return InputRefused(f"{address} answers {fault.code} {fault.reason}", remedy=_WRONG)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return InputRefused(f"the certificate of {host} is not trusted: {reason.verify_message}",
                            remedy=_UNTRUSTED)
    words = str(getattr(reason, "strerror", "") or reason)[:200] or type(reason).__name__
    if isinstance(reason, TimeoutError | socket.timeout):
        words = "it does not answer"
    return InputRefused(f"{host} cannot be reached: {words}", remedy=_UNREACHED)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
