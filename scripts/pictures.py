"""`make pictures`: the pictures of the docs, taken in Chromium from the running product. What they show is its demonstration."""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
PASSWORD = "ba con voi vàng"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update")
LARGEST = 150_000
"""Bytes of a picture: the repository keeps them."""


def main() -> None:
    """Start a centre, fill it, set it up as a newcomer does, and take one picture of each page."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("error: no Chromium here: apt-get install chromium")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="soc-pictures-") as folder, sync_playwright() as playwright:
        centre = Running(Path(folder))
        try:
            link = centre.start()
            browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            page = browser.new_context(viewport={"width": 1366, "height": 768}, locale="en").new_page()
            page.set_default_timeout(60_000)
            take(page, centre, link)
            browser.close()
        finally:
            centre.stop()


def take(page: Page, centre: Running, link: str) -> None:
    """Walk through the first hour, a picture at each stop."""
    start = link.partition("/setup")[0]
    page.goto(f"{start}/language/en?back=/setup%3Ftoken={link.partition('token=')[2]}")
    page.get_by_label("Name of this centre").fill("Sao Mai province")
    page.get_by_label("Login name").fill("an")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    keep(page, "setup")
    page.get_by_label("I have the public rules as a zip").check()
    page.get_by_role("button", name="Create account").click()
    page.get_by_role("row").filter(has_text=re.compile("^soc")).wait_for(timeout=120_000)
    keep(page, "rulepacks")
    centre.played()
    page.goto(start)
    keep(page, "overview")
    page.goto(f"{start}/alerts")
    page.locator("tbody a").first.click()
    keep(page, "alert")
    page.goto(f"{start}/events")
    page.locator("form.filters input").first.fill("event.dataset:nginx AND http.request.method:POST")
    page.locator("select[name=span]").select_option("all")
    page.get_by_role("button", name="Search").click()
    keep(page, "events")


def keep(page: Page, name: str) -> None:
    """Take the picture `name`. Leaves with a word if it is too large for a repository."""
    page.wait_for_load_state("networkidle")
    path = PICTURES / f"{name}.png"
    page.screenshot(path=path)
    if path.stat().st_size > LARGEST:
        sys.exit(f"error: {path} has {path.stat().st_size} bytes, more than {LARGEST}")
    print(f"{path.relative_to(ROOT)}  {path.stat().st_size:,} bytes")


class Running:
    """A centre in a folder of its own, on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, folder / "log"
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            console, gateway = one.getsockname()[1], two.getsockname()[1]
        bare = {name: value for name, value in os.environ.items() if not name.startswith("SOC_")}
        self._environment = {**bare, "SOC_DATA": str(folder / "data"), "SOC_CONSOLE__PORT": str(console), "SOC_GATEWAY__PORT": str(gateway),
                             "SOC_SYSLOG__ENABLED": "false", "SOC_MACHINE__JOURNAL": "false", "SOC_MACHINE__FILES": "", "NO_COLOR": "1"}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it; returns the set-up link."""
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "soc.cli", "serve", "--demo"], cwd=ROOT, env=self._environment,
                                             stdout=log, stderr=log)
        return str(until(lambda: re.search(r"http://\S+/setup\?token=\S+", self._log.read_text()))[0])

    def played(self) -> None:
        """Wait until every attack that our own rules find in the demonstration's past has its alerts."""
        for _ in range(240):
            told = subprocess.run([sys.executable, "-m", "soc.cli", "demo", "status", "--json"], cwd=ROOT, env=self._environment, check=True,
                                  timeout=60, capture_output=True).stdout
            if all(one["found"] == "yes" for one in json.loads(told) if one["rules"] == "ours"):
                return
            time.sleep(0.5)
        sys.exit("error: the demonstration was not judged within two minutes")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)


def until(what: Callable[[], re.Match[str] | None], seconds: float = 60) -> re.Match[str]:
    """The first true answer. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.1)
    raise TimeoutError("the centre did not start")


if __name__ == "__main__":
    main()
