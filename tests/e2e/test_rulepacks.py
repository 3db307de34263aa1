"""Rules at hand: at set-up, from the page and by command; the release comes from a web server of the test."""
from __future__ import annotations

import hashlib
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Centre, wait_for
from tests.release_server import LATEST, ReleaseServer, release, serving

PASSWORD = "ba con voi vàng"
PACKED = release(rules=4)


@pytest.fixture(scope="module")
def server() -> Iterator[ReleaseServer]:
    with serving(PACKED) as made:
        yield made


class Newcomer:
    """A centre without a user, and a browser that follows its set-up link."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.centre = Centre(folder, settings)
        self.centre.start()
        said = wait_for(lambda: re.search(r"(http://\S+)/setup\?token=(\S+)", self.centre.log.read_text()), 60)
        self.token = said[2]
        self.browser = httpx.Client(base_url=said[1], timeout=30, trust_env=False)

    def set_up(self, rules: str) -> httpx.Response:
        return self.browser.post("/setup", data={"token": self.token, "name": "an", "password": PASSWORD, "again": PASSWORD, "rules": rules})

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.browser.get("/api/v1/rulepacks").raise_for_status().json()
        return found

    def ended(self) -> dict[str, Any]:
        found: dict[str, Any] = wait_for(lambda: (now := self.state())["work"].get("state") not in ("working", None) and now, 120, 0.3)
        return found

    def csrf(self) -> dict[str, str]:
        return {"X-CSRF-Token": self.browser.get("/api/v1/session").json()["csrf"]}


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory, server: ReleaseServer) -> Iterator[Newcomer]:
    made = Newcomer(tmp_path_factory.mktemp("newcomer"), {"SOC_RULES__RELEASE_URL": server.at(LATEST)})
    yield made
    made.browser.close()
    made.centre.kill()


def test_set_up_asks_and_the_public_rules_come_by_themselves(newcomer: Newcomer) -> None:
    page = newcomer.browser.get("/setup", params={"token": newcomer.token}).text
    assert 'name="rules" value="fetch" checked' in page
    answer = newcomer.set_up("fetch")
    assert (answer.status_code, answer.headers["location"]) == (303, "/rulepacks")
    assert newcomer.browser.get("/rulepacks").status_code == 200  # logged in already
    found = wait_for(lambda: len((now := newcomer.state())["packs"]) == 2 and now["work"]["state"] == "done" and now, 120, 0.3)
    assert {pack["name"]: pack["rules"] for pack in found["packs"]}["sigma"] == 4
    assert next(pack for pack in found["packs"] if pack["name"] == "soc")["enabled"] >= 12
    assert found["work"]["report"] == {"pack": "sigma", "rules": 4, "enabled": 4, "refused": 0, "cannot_fire": 0}
    assert found["work"]["release"]["version"] == "r2026-11-01"
    assert found["work"]["release"]["sha256"] == hashlib.sha256(PACKED).hexdigest()
    page = newcomer.browser.get("/rulepacks").text
    assert "r2026-11-01" in page
    assert hashlib.sha256(PACKED).hexdigest() in page
    assert list((newcomer.centre.data / "tmp").glob("rulepack-*")) == []


def test_a_zip_that_is_dropped_is_taken_in_beside_it(newcomer: Newcomer) -> None:
    newcomer.ended()
    other = release(rules=5, first=100)
    answer = newcomer.browser.post("/api/v1/rulepacks", params={"name": "Gói của tôi"}, content=other, headers=newcomer.csrf())
    assert (answer.status_code, answer.json()["work"]["state"]) == (202, "working")
    busy = newcomer.browser.post("/api/v1/rulepacks/fetch", headers=newcomer.csrf())
    assert busy.status_code == 409
    found = newcomer.ended()
    assert found["work"]["report"]["pack"] == "Gói của tôi"
    assert found["work"]["release"]["version"] == "r2026-11-01"  # of the last that was fetched
    assert {pack["name"] for pack in found["packs"]} == {"soc", "sigma", "Gói của tôi"}


@pytest.mark.parametrize(("body", "status", "words"), [
    (b"no zip", 422, "this is no zip of rules"), (b"", 422, "nothing came"), (b"PK\x03\x04" + bytes(65 << 20), 413, "too large"),
])
def test_what_is_no_pack_is_refused_at_the_door(newcomer: Newcomer, body: bytes, status: int, words: str) -> None:
    newcomer.ended()
    answer = newcomer.browser.post("/api/v1/rulepacks", content=body, headers=newcomer.csrf())
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    assert list((newcomer.centre.data / "tmp").glob("rulepack-*")) == []


def test_a_damaged_zip_says_so_with_its_remedy_and_changes_nothing(newcomer: Newcomer) -> None:
    before = newcomer.ended()["packs"]
    assert newcomer.browser.post("/api/v1/rulepacks", content=PACKED[:200], headers=newcomer.csrf()).status_code == 202
    found = wait_for(lambda: (now := newcomer.state())["work"]["state"] == "failed" and now, 60, 0.3)
    assert found["work"]["message"] == "sigma: a damaged archive: it has no end"
    assert "fetch it again" in found["work"]["remedy"]
    assert found["packs"] == before
    told = newcomer.browser.get("/rulepacks/work").text
    assert "sigma: tệp nén hỏng: thiếu phần cuối" in told
    assert "Hãy chép hoặc tải lại" in told


def test_without_the_csrf_token_or_the_permission_nothing_comes(newcomer: Newcomer) -> None:
    assert newcomer.browser.post("/api/v1/rulepacks", content=PACKED).status_code == 403
    assert httpx.post(f"{newcomer.browser.base_url}/api/v1/rulepacks", content=PACKED, trust_env=False).status_code == 401


def test_a_console_that_is_killed_meanwhile_leaves_no_half_pack_and_it_may_be_started_again(newcomer: Newcomer) -> None:
    before = newcomer.ended()["packs"]
    large = release(rules=3000, first=1000)
    assert newcomer.browser.post("/api/v1/rulepacks", params={"name": "large"}, content=large, headers=newcomer.csrf()).status_code == 202
    wait_for(lambda: (now := newcomer.state()["work"])["what"] == "large" and now["stage"] == "importing", 60, 0.05)
    os.kill(newcomer.centre.pids()["console"], signal.SIGKILL)
    found = wait_for(lambda: (now := calmly(newcomer))["work"]["state"] == "interrupted" and now, 60, 0.3)
    assert found["packs"] == before
    assert list((newcomer.centre.data / "tmp").glob("rulepack-*")) == []
    assert "ngắt" in newcomer.browser.get("/rulepacks").text
    assert newcomer.browser.post("/api/v1/rulepacks", params={"name": "large"}, content=large, headers=newcomer.csrf()).status_code == 202
    assert newcomer.ended()["work"]["report"]["rules"] == 3000


def calmly(newcomer: Newcomer) -> dict[str, Any]:
    """The state, or nothing while the console is away."""
    try:
        return newcomer.state()
    except httpx.TransportError:
        return {"work": {"state": "away"}}


def test_by_command_with_version_and_checksum(tmp_path: Path, server: ReleaseServer) -> None:
    centre = Centre(tmp_path, {"SOC_RULES__RELEASE_URL": server.at(LATEST), "SOC_RULES__RELEASE_SHA256": hashlib.sha256(PACKED).hexdigest()})
    done = centre.soc("rules", "fetch")
    assert "version r2026-11-01" in done.stderr
    assert f"SHA-256 {hashlib.sha256(PACKED).hexdigest()} as configured" in done.stderr
    assert "Pack sigma: 4 rules" in done.stderr
    assert len(json.loads(centre.soc("rules", "list", "--pack", "sigma", "--json").stdout)) == 4
    other = centre.soc("rules", "fetch", "--sha256", "0" * 64, check=False)
    assert other.returncode == 1
    assert "is not the release that rules.release_sha256 names" in other.stderr
    assert "Traceback" not in other.stderr
    assert len(json.loads(centre.soc("rules", "list", "--pack", "sigma", "--json").stdout)) == 4
    lost = centre.soc("rules", "fetch", "--url", "http://127.0.0.1:9/r.zip", check=False)
    assert lost.stderr.startswith("error: 127.0.0.1 cannot be reached")
    assert "without internet" in lost.stderr
    assert list((centre.data / "tmp").glob("rulepack-*")) == []


def test_without_internet_set_up_goes_on_and_the_page_says_what_to_do(tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path, {"SOC_RULES__RELEASE_URL": "http://127.0.0.1:9/r.zip"})
    try:
        assert newcomer.set_up("fetch").headers["location"] == "/rulepacks"
        found = wait_for(lambda: (now := newcomer.state())["work"].get("state") == "failed" and now, 120, 0.3)
        assert "cannot be reached" in found["work"]["message"]
        assert [pack["name"] for pack in found["packs"]] == ["soc"]  # ours are there
        page = newcomer.browser.get("/rulepacks").text
        assert "Không kết nối được tới 127.0.0.1" in page
        assert "HTTPS_PROXY" in page
    finally:
        newcomer.browser.close()
        newcomer.centre.kill()
