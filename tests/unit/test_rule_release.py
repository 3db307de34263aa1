"""Fetching the public release: from a real web server, by TLS and without, and whatever may go wrong on the way."""
from __future__ import annotations

import hashlib
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from soc.detect import release as module
from soc.detect.packwork import PackWork, read_work
from soc.detect.release import Release, fetch_release
from soc.errors import DuplicateError, InputRefused, TooLargeError
from soc.tls import make_certificates
from tests.release_server import LATEST, STORED, TAGGED, ReleaseServer, release, serving

PACKED = release()
SHA256 = hashlib.sha256(PACKED).hexdigest()


def test_it_follows_the_latest_to_its_version_and_tells_the_checksum(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with serving(PACKED) as server:
        found = fetch_release(server.at(LATEST), tmp_path / "r.zip", progress=lambda done, total: told.append((done, total)))
        assert found == Release(tmp_path / "r.zip", server.at(STORED).partition("?")[0], "r2026-11-01", SHA256, len(PACKED))
    assert (tmp_path / "r.zip").read_bytes() == PACKED
    assert (tmp_path / "r.zip").stat().st_mode & 0o077 == 0
    assert told[-1] == (len(PACKED), len(PACKED))


def test_a_proxy_is_not_asked_for_what_is_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(PACKED) as server:
        assert fetch_release(server.at(LATEST), tmp_path / "r.zip").sha256 == SHA256
    with pytest.raises(InputRefused, match="Connection refused"):  # the proxy's
        fetch_release("https://rules.example/r.zip", tmp_path / "r.zip")


def test_by_tls_with_an_authority_that_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = make_certificates(tmp_path / "tls", ["127.0.0.1"], datetime.now(UTC))
    assert files.authority is not None
    with serving(PACKED, files.certificate, files.key) as server:
        with pytest.raises(InputRefused, match=r"certificate of 127\.0\.0\.1 is not trusted") as refused:
            fetch_release(server.at(LATEST), tmp_path / "r.zip")
        assert "SSL_CERT_FILE" in refused.value.remedy
        monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
        assert fetch_release(server.at(LATEST), tmp_path / "r.zip").sha256 == SHA256
        with serving(PACKED) as plain:
            server.bodies[TAGGED] = plain.at(STORED)
            with pytest.raises(InputRefused, match="not encrypted"):
                fetch_release(server.at(LATEST), tmp_path / "r.zip")
            assert plain.asked == []


def test_a_checksum_takes_that_release_and_no_other(tmp_path: Path) -> None:
    with serving(PACKED) as server:
        assert fetch_release(server.at(LATEST), tmp_path / "r.zip", sha256=SHA256.upper()).version == "r2026-11-01"
        with pytest.raises(InputRefused, match=f"its SHA-256 is {SHA256}"):
            fetch_release(server.at(LATEST), tmp_path / "other.zip", sha256="0" * 64)
    assert not (tmp_path / "other.zip").exists()


@pytest.mark.parametrize(("body", "words"), [
    (b"<html>log in to this network first</html>", "is no zip"),
    (b"", "ended after 0 of 0 bytes"),
    (404, "answers 404"),
    (503, "answers 503"),
    ("file:///etc/passwd", "not allowed"),
    ("http://192.0.2.1/r.zip", "not encrypted"),
    (LATEST, "answers 302"),
])
def test_what_is_no_release_is_refused_and_leaves_nothing(tmp_path: Path, body: bytes | str | int, words: str) -> None:
    server = ReleaseServer({LATEST: body})
    try:
        with pytest.raises(InputRefused, match=words) as refused:
            fetch_release(server.at(LATEST), tmp_path / "r.zip")
    finally:
        server.close()
    assert refused.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["", "rules.zip", "ftp://a/b", "file:///etc/passwd", "http://rules.example/r.zip", "https://a/b c", "https:///x"])
def test_an_address_that_cannot_be_trusted_is_not_asked(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputRefused):
        fetch_release(address, tmp_path / "r.zip")


def test_no_network_is_one_line_with_the_way_around_it(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(InputRefused, match=r"127\.0\.0\.1 cannot be reached: Connection refused") as refused:
            fetch_release(f"http://127.0.0.1:{nobody.getsockname()[1]}/r.zip", tmp_path / "r.zip")
    assert "HTTPS_PROXY" in refused.value.remedy
    assert "soc rules import" in refused.value.remedy


def test_more_than_a_release_ever_has_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    with serving(PACKED) as server, pytest.raises(TooLargeError):
        fetch_release(server.at(LATEST), tmp_path / "r.zip")
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_breaks_off_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        import threading

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nPK\x03\x04abc")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(InputRefused, match=r"ended after 7 of 1000 bytes|cannot be reached"):
            fetch_release(f"http://127.0.0.1:{listener.getsockname()[1]}/r.zip", tmp_path / "r.zip")
    assert list(tmp_path.iterdir()) == []


def test_the_note_tells_stage_progress_and_end(tmp_path: Path) -> None:
    assert read_work(tmp_path) == {}
    with PackWork(tmp_path, "sigma") as work:
        assert (read_work(tmp_path)["state"], read_work(tmp_path)["what"]) == ("working", "sigma")
        work.stage("fetching", address="https://rules.example/r.zip")
        assert read_work(tmp_path)["stage"] == "fetching"
        with pytest.raises(DuplicateError):
            PackWork(tmp_path, "other")
        work.stage("importing", release={"version": "r1"})
        work.tell(report={"rules": 3})
    found = read_work(tmp_path)
    assert (found["state"], found["report"], found["release"]) == ("done", {"rules": 3}, {"version": "r1"})
    with pytest.raises(InputRefused), PackWork(tmp_path, "bad"):
        raise InputRefused("no good", remedy="mend it")
    found = read_work(tmp_path)
    assert (found["state"], found["message"], found["remedy"], found["release"]) == ("failed", "no good", "mend it", {"version": "r1"})


def test_work_whose_process_is_gone_reads_as_interrupted(tmp_path: Path) -> None:
    import multiprocessing
    import os

    def begin_and_die() -> None:
        PackWork(tmp_path, "sigma").tell()
        os._exit(9)

    child = multiprocessing.get_context("fork").Process(target=begin_and_die)
    child.start()
    child.join(30)
    assert read_work(tmp_path)["state"] == "interrupted"
    with PackWork(tmp_path, "sigma"):
        pass
    assert read_work(tmp_path)["state"] == "done"
