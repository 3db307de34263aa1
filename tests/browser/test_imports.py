"""Log files dropped on the page are imported as by the command, with their alerts and an undo; what is no log says so."""
from __future__ import annotations

import zipfile
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import dropped
from tests.e2e.conftest import Centre, wait_for

PASSWORD = "ba con voi vàng"


def test_a_dropped_event_log_is_imported_searched_and_taken_back(running: Centre, page: Page, test_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(test_data / "evtx-attack-samples.zip") as samples:
        name = min((one for one in samples.infolist() if one.filename.lower().endswith(".evtx")), key=lambda one: one.file_size).filename
        log = tmp_path / "máy-01.evtx"
        log.write_bytes(samples.read(name))
    running.soc("user", "add", "an", "--role", "administrator", "--password-stdin", text=PASSWORD)
    page.goto(f"http://127.0.0.1:{running.console}/login?next=/imports")
    page.locator("input[name=name]").fill("an")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main button").click()

    dropped(page, "#drop", log, "application/octet-stream")
    upload = page.locator("#work .upload")
    expect(upload).to_have_attribute("data-state", "done", timeout=90_000)
    expect(upload).to_contain_text("máy-01.evtx")
    [listed] = running.json("import", "list")
    assert (listed["state"], listed["refused"], listed["records"] > 0) == ("done", 0, True)
    assert listed["actor"].endswith(" an")
    assert running.count() == listed["records"]

    upload.get_by_role("link").click()
    expect(page.locator("main")).to_contain_text("máy-01.evtx")
    page.get_by_role("link", name="Mở trong tìm kiếm").click()
    expect(page.locator("h1 small")).to_contain_text(str(listed["records"]))
    page.go_back()
    page.locator("details summary").click()
    page.get_by_role("button", name="Gỡ bỏ lần nhập").click()
    assert wait_for(lambda: running.json("import", "list")[0]["state"] == "undone", 60)
    assert running.count() == 0

    broken = tmp_path / "hỏng.evtx"
    broken.write_bytes(b"this is no event log\x00" * 200)
    page.goto(f"http://127.0.0.1:{running.console}/imports")
    dropped(page, "#drop", broken, "application/octet-stream")
    expect(page.locator("#work .upload").first).to_have_attribute("data-state", "failed", timeout=90_000)
    expect(page.locator("#work .upload .failed").first).to_contain_text("nothing could be read")
