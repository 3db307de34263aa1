"""A source added on the page: its lines are run as they stand, and the open page shows what came, or why nothing did."""
from __future__ import annotations

import subprocess
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.conftest import Centre

PASSWORD = "ba con voi vàng"


def test_the_lines_of_the_page_bring_the_first_event_onto_it(running: Centre, page: Page, tmp_path: Path) -> None:
    running.soc("user", "add", "an", "--role", "administrator", "--password-stdin", text=PASSWORD)
    at = f"http://127.0.0.1:{running.console}"
    page.goto(f"{at}/login?next=/sources/new")
    page.locator("input[name=name]").fill("an")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main button").click()

    page.get_by_label("Tên (").fill("portal-1")
    page.get_by_label("Chương trình gửi").select_option("curl")
    page.get_by_role("button", name="Tạo và hiện dòng cấu hình").click()
    expect(page.locator("[data-state=waiting]")).to_be_visible(timeout=30_000)

    command = page.locator("#lines").inner_text()
    (tmp_path / "events.jsonl").write_text("Nov 26 18:59:00 web-01 sshd[7]: Failed password for root from 203.0.113.9 port 22 ssh2\n")
    refused = subprocess.run(["sh", "-c", command.replace("soci_", "soci_x")], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert "no valid ingest token" in refused.stdout
    expect(page.locator("[data-state=refused]")).to_contain_text("Mã không đúng.", timeout=30_000)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    expect(page.locator("[data-state=heard]")).to_contain_text("Failed password for root from 203.0.113.9", timeout=30_000)

    page.goto(f"{at}/sources")
    expect(page.get_by_role("row").filter(has_text="portal-1")).to_contain_text("1")
    page.goto(f"{at}/sources/portal-1?shipper=filebeat")
    expect(page.locator("#lines")).to_contain_text("$SOC_TOKEN")
