"""The first hour as a newcomer has it, in one go: a clean clone, `make run`, no network, and a browser."""
from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Quiet, dropped, watched
from tests.e2e.conftest import free_ports, wait_for
from tests.release_server import release

ROOT = Path(__file__).parents[2]
PASSWORD = "ba con voi vàng"


class Clone:
    """A clean clone of what is here, and the centre that `make run` starts in it. Its environment is the one the tests run in."""

    def __init__(self, folder: Path, within: tuple[str, ...]) -> None:
        self.path, self.within, self.log = folder / "soc", within, folder / "run.log"
        for name in shipped():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.path / name)
        (self.path / ".venv").symlink_to(sys.prefix)
        console, gateway, self.syslog, tls = free_ports(4)
        # Of a `make test` that runs these tests nothing reaches the `make run` in here, above all not its ARGS.
        typed = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS")}
        self.environment = {
            **typed, "PYTHONPATH": str(self.path), "NO_COLOR": "1", "SOC_CONSOLE__PORT": str(console), "SOC_GATEWAY__PORT": str(gateway),
            "SOC_SYSLOG__PORT": str(self.syslog), "SOC_SYSLOG__TLS_PORT": str(tls), "PIP_NO_INDEX": "1"}
        self.process: subprocess.Popen[bytes] | None = None

    def make_run(self) -> str:
        """Type the one command; returns the set-up link that it prints."""
        with open(self.log, "wb") as log:  # -o: the environment is there, and is not to be touched
            self.process = subprocess.Popen([*self.within, "make", "-o", ".venv/run.stamp", "run"], cwd=self.path, env=self.environment,
                                            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        return str(wait_for(lambda: re.search(r"http://\S+/setup\?token=\S+", self.log.read_text()), 120)[0])

    def type(self, *words: str) -> str:
        """Type a command in a second terminal."""
        done = subprocess.run([*self.within, *words], cwd=self.path, env=self.environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def soc(self, *words: str) -> str:
        """Type a command of ours."""
        return self.type(".venv/bin/python", "-m", "soc.cli", *words)

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def shipped() -> list[Path]:
    """The files of a clone, as they are here now; of an unpacked archive all but what was made in it."""
    listed = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, check=False)
    if listed.returncode == 0:
        return [Path(name) for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    made = {".venv", ".git", "data", "__pycache__", ".mypy_cache", ".ruff_cache", ".hypothesis"}
    return [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file() and not made & set(path.relative_to(ROOT).parts)]


@contextmanager
def logging_by(shipper: str, lines: str, clone: Clone, folder: Path) -> Iterator[Callable[[str], None]]:
    """A server that logs by these lines of the page: a real rsyslog pointed at the centre, or `logger`; gives what logs a message there."""
    if shipper == "logger":
        yield lambda message: print(clone.type(*shlex.split(lines)[:-1], message))
        return
    configuration, socket_file = folder / "rsyslog.conf", folder / "log"
    configuration.write_text(f'global(workDirectory="{folder}")\nmodule(load="imuxsock" SysSock.Use="off")\n'
                             f'input(type="imuxsock" Socket="{socket_file}")\n{lines}\n')
    daemon = subprocess.Popen([*clone.within, "rsyslogd", "-n", "-f", str(configuration), "-i", str(folder / "pid")])

    def log(message: str) -> None:
        def written() -> bool:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
                to.connect(str(socket_file))
                to.send(f"<38>Feb 28 16:10:11 portal: {message}".encode())
            return True

        wait_for(written, 60)

    try:
        yield log
    finally:
        daemon.kill()
        daemon.wait()


@pytest.fixture
def clone(tmp_path: Path, quiet: Quiet) -> Iterator[Clone]:
    made = Clone(tmp_path, quiet.within)
    yield made
    made.stop()


def test_from_make_run_to_an_alert_of_ones_own(clone: Clone, browsers: Callable[..., Browser], tmp_path: Path) -> None:
    link = clone.make_run()
    faults: list[str] = []
    page = watched(browsers(*clone.within), faults=faults)

    # Set-up: who I am, and where the public rules come from. There is no network, so they come as a zip.
    page.goto(link)
    page.goto(f"{link.partition('/setup')[0]}/language/en?back=/setup%3Ftoken={link.partition('token=')[2]}")
    page.get_by_label("Name of this centre").fill("Sao Mai province")
    page.get_by_label("Login name").fill("an")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_label("I have the public rules as a zip").check()
    page.get_by_role("button", name="Create account").click()

    # The page of rule packs: ours come by themselves, the zip is dropped on it, and nothing is reloaded by hand.
    expect(page.get_by_role("heading", name="Rule packs")).to_be_visible()
    expect(page.locator(".brand")).to_have_text("Sao Mai province")
    expect(page.get_by_role("row").filter(has_text=re.compile(r"^soc"))).to_be_visible(timeout=120_000)
    pack = tmp_path / "sigma_all_rules.zip"
    pack.write_bytes(release(rules=40))
    dropped(page, "#drop", pack)
    expect(page.get_by_role("row").filter(has_text=re.compile(r"^sigma\s*40"))).to_be_visible(timeout=120_000)
    expect(page.locator("#work")).to_contain_text("sigma: 40 rules, 40 on, 0 refused.")

    expect(page.locator("p.note")).to_contain_text("Of the 12 attacks planted in the demonstration, 3 are not seen without the public rules")

    # Something true to look at: the demonstration's alerts are there already.
    page.get_by_role("link", name="Alerts", exact=True).click()
    planted = page.locator("tbody tr")
    for _ in range(120):
        if planted.count() > 5:
            break
        page.wait_for_timeout(500)
        page.reload()
    assert planted.count() > 5

    # Try it now: one harmless line, pasted; its alert stands on the open page with its seconds.
    page.get_by_role("link", name="Overview", exact=True).click()
    steps = page.locator(".steps li")
    expect(steps).to_have_count(4)
    expect(steps.nth(1)).to_contain_text("3 of 12 attacks of the demonstration are not seen without them.")
    expect(page.get_by_role("img", name="New alerts in seven days")).to_be_visible()
    page.get_by_role("button", name="Try it now").click()
    expect(page.locator("[data-state=waiting]")).to_be_visible(timeout=30_000)
    clone.type("sh", "-c", page.locator("#line").inner_text())
    expect(page.locator("[data-state=judged]")).to_contain_text("s in all", timeout=60_000)

    # A log of one's own, dropped on the page of imports.
    log_file = tmp_path / "auth.log"
    log_file.write_text("Nov 26 18:59:00 web-01 sshd[7]: Failed password for root from 203.0.113.9 port 22 ssh2\n")
    page.get_by_role("link", name="Imports", exact=True).click()
    dropped(page, "#drop", log_file, "text/plain")
    expect(page.locator("#work .upload")).to_have_attribute("data-state", "done", timeout=90_000)
    expect(page.locator("#work .upload")).to_contain_text("1 new records, 0 known already")

    # And a Windows event log, as somebody brought it on a stick; the samples are not part of a clone.
    samples = Path(os.environ.get("SOC_TEST_DATA") or ROOT.parent / "shared" / "data") / "evtx-attack-samples.zip"
    if samples.exists():
        with zipfile.ZipFile(samples) as packed:
            stick = tmp_path / "may-07.evtx"
            stick.write_bytes(packed.read("AutomatedTestingTools/Malware/rundll32_cmd_schtask.evtx"))
        dropped(page, "#drop", stick, "application/octet-stream")
        log = page.locator("#work .upload").filter(has_text="may-07.evtx")
        expect(log).to_have_attribute("data-state", "done", timeout=90_000)
        expect(log).to_contain_text("50 new records, 0 known already")

    # The first server: a source, the line that its page shows with another text; the open page shows the event, and there is its alert.
    page.get_by_role("link", name="Sources", exact=True).click()
    page.get_by_role("link", name="Add a source").click()
    page.get_by_label("Name (").fill("portal-1")
    shipper = "rsyslog" if shutil.which("rsyslogd") else "logger"
    page.get_by_label("Program that sends").select_option(shipper)
    page.get_by_label("Addresses that may send").fill("127.0.0.1")
    page.get_by_role("button", name="Make it, and show its lines").click()
    expect(page.locator("[data-state=waiting]")).to_be_visible(timeout=30_000)
    lines = page.locator("#lines").inner_text()
    assert str(clone.syslog) in lines
    with logging_by(shipper, lines, clone, tmp_path) as log:
        log("release-marker-7 was here")
        expect(page.locator("[data-state=heard]")).to_contain_text("release-marker-7 was here", timeout=60_000)
    page.get_by_role("link", name="Alerts", exact=True).click()
    alert = page.get_by_role("link", name="A line that nobody else writes 7")
    for _ in range(60):
        if alert.count():
            break
        page.wait_for_timeout(500)
        page.reload()
    alert.click()
    expect(page.get_by_role("heading", name="A line that nobody else writes 7")).to_be_visible()

    # Seen enough: the demonstration goes, and nothing else.
    clone.soc("demo", "remove", "--yes")
    page.get_by_role("link", name="Alerts", exact=True).click()
    expect(page.locator("tbody tr").filter(has_text="(demonstration)")).to_have_count(0)
    expect(page.get_by_role("link", name="A line that nobody else writes 7")).to_be_visible()
    page.get_by_role("link", name="Overview", exact=True).click()
    expect(steps).to_have_count(1)  # what one began with is done
    assert faults == []


def test_what_was_to_be_fetched_without_a_network_says_so_on_the_open_page(clone: Clone, browsers: Callable[..., Browser]) -> None:
    if not clone.within:
        pytest.skip("this machine allows no network namespace: sudo make test")
    link = clone.make_run()
    page = watched(browsers(*clone.within))
    page.goto(link)  # Vietnamese is what a centre speaks first
    page.get_by_label("Tên đăng nhập").fill("an")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("input[name=again]").fill(PASSWORD)
    assert page.locator("input[name=rules][value=fetch]").is_checked()
    page.locator("button.main").click()
    expect(page.locator("#work .failed")).to_contain_text("Không kết nối được tới github.com", timeout=120_000)
    expect(page.locator("#work .remedy")).to_contain_text("tải tệp zip trên máy khác")
