"""A real Chromium for the console's pages. A page that logs an error, or breaks the content security policy, fails its test."""
from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.conftest import Centre, wait_for

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync")
PATIENCE = 30_000
"""Milliseconds that a page may take to show what is waited for, on a slow machine."""


def chromium_path() -> str:
    """The browser of this machine; without it the test is skipped, under CI=true it fails."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        reason = "no Chromium here: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def browsers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Browser]]:
    """Starts browsers, each behind the command `within` (that enters a namespace, say); all end with the module.

    Not for the whole session: while Playwright runs, its thread counts as one with a running event loop.
    """
    program = chromium_path()
    with sync_playwright() as playwright, ExitStack() as ends:
        def start(*within: str) -> Browser:
            path = program
            if within:
                wrapper = tmp_path_factory.mktemp("browser") / "chromium"
                wrapper.write_text(f'#!/bin/sh\nexec {" ".join(within)} {program} "$@"\n')
                wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
                path = str(wrapper)
            made = playwright.chromium.launch(executable_path=path, args=list(FLAGS), timeout=120_000)
            ends.callback(made.close)
            return made

        yield start


@pytest.fixture(scope="module")
def browser(browsers: Callable[..., Browser]) -> Browser:
    """One browser for the tests of a module."""
    return browsers()


def watched(browser: Browser, *, width: int = 1366, height: int = 768, faults: list[str] | None = None) -> Page:
    """A page of its own, without cookies; what it complains of goes into `faults`."""
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    page.set_default_timeout(PATIENCE)
    if faults is not None:
        page.on("pageerror", lambda fault: faults.append(f"{page.url}: {fault}"))
        page.on("console", lambda said: faults.append(f"{page.url}: {said.text}") if said.type == "error" and not _answer(said.text) else None)
    return page


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of 1366×768; the test fails if a script on it fails."""
    faults: list[str] = []
    made = watched(browser, faults=faults)
    yield made
    made.context.close()
    assert faults == []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    """A running centre for the tests of a module, without users yet."""
    made = Centre(tmp_path_factory.mktemp("centre"))
    made.up()
    wait_for(lambda: socket.create_connection(("127.0.0.1", made.console), 1).close() is None, 60)
    yield made
    made.kill()


class Quiet:
    """A network of its own without a way out: only loopback, as on a machine that is connected to nothing.

    `within` is what a command starts with to be in it; empty where the machine does not allow it: then the test runs in the open.
    """

    def __init__(self) -> None:
        self.within: tuple[str, ...] = ()
        self._holder: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0 and all(map(shutil.which, ("unshare", "nsenter", "ip"))):
            self._hold()

    def _hold(self) -> None:
        holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 1000"], stdout=subprocess.PIPE)
        assert holder.stdout is not None
        with holder.stdout as said:
            up = said.readline() == b"up\n"
        if up:
            self._holder = holder
            self.within = ("nsenter", f"--net=/proc/{holder.pid}/ns/net", "--")
        else:
            holder.wait(10)

    def end(self) -> None:
        """Let it go."""
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()


@pytest.fixture(scope="module")
def quiet() -> Iterator[Quiet]:
    """A network without a way out."""
    made = Quiet()
    yield made
    made.end()


def dropped(page: Page, selector: str, file: Path, media_type: str = "application/zip") -> None:
    """Drop a file on an element, as from a file manager."""
    data = page.evaluate_handle(
        """([name, type, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name, { type }));
            return data;
        }""", [file.name, media_type, _base64(file)])
    page.dispatch_event(selector, "drop", {"dataTransfer": data})


def _base64(file: Path) -> str:
    import base64

    return base64.b64encode(file.read_bytes()).decode()


def _answer(text: str) -> bool:
    """Whether Chromium only notes that an answer was an error: refusals are part of what is tested."""
    return text.startswith("Failed to load resource")
