"""A web server on loopback that has a rule release, as the public one has it: an address of the latest that leads to a tagged one."""
from __future__ import annotations

import io
import ssl
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RULE = """title: A line that nobody else writes {number}
id: 7d3c5a1e-0000-4000-8000-{number:012d}
status: test
level: high
logsource: {{product: linux}}
detection:
    keywords: ['release-marker-{number}']
    condition: keywords
"""


def release(rules: int = 3, first: int = 0) -> bytes:
    """The zip of a release, its rules numbered from `first`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("version.txt", "r2026-11-01")
        for number in range(first, first + rules):
            archive.writestr(f"rules/linux/one_{number}.yml", RULE.format(number=number))
    return packed.getvalue()


class ReleaseServer:
    """`bodies`: path -> what is answered; bytes with 200, text as a redirect to it, a number as that error."""

    def __init__(self, bodies: dict[str, bytes | str | int], certificate: Path | None = None, key: Path | None = None) -> None:
        served = self
        self.bodies, self.asked = bodies, []

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.asked.append(self.path)
                found = served.bodies.get(self.path, 404)
                if isinstance(found, bytes):
                    self.send_response(200)
                    self.send_header("content-length", str(len(found)))
                    self.end_headers()
                    self.wfile.write(found)
                elif isinstance(found, str):
                    self.send_response(302)
                    self.send_header("location", found)
                    self.end_headers()
                else:
                    self.send_error(found)

            def log_message(self, *_: object) -> None:
                """Nothing: the test says what matters."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.scheme = "https"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def at(self, path: str) -> str:
        """The address of a path."""
        return f"{self.scheme}://127.0.0.1:{self.server.server_address[1]}{path}"

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()


LATEST = "/SigmaHQ/sigma/releases/latest/download/sigma_all_rules.zip"
TAGGED = "/SigmaHQ/sigma/releases/download/r2026-11-01/sigma_all_rules.zip"
STORED = "/assets/1234?sig=abc"


@contextmanager
def serving(packed: bytes, certificate: Path | None = None, key: Path | None = None) -> Iterator[ReleaseServer]:
    """A server with that release under the three addresses that the public one goes through."""
    server = ReleaseServer({LATEST: TAGGED, TAGGED: STORED, STORED: packed}, certificate, key)
    try:
        yield server
    finally:
        server.close()
