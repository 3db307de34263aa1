"""Try it now: the pasted line's alert stands on the open page, with its seconds, and on the overview of somebody else."""
from __future__ import annotations

import re
import subprocess

from playwright.sync_api import Page, expect

from tests.e2e.conftest import Centre

PASSWORD = "ba con voi vàng"


def test_a_pasted_line_is_an_alert_on_the_open_page(running: Centre, page: Page) -> None:
    running.soc("user", "add", "an", "--role", "administrator", "--password-stdin", text=PASSWORD)
    running.soc("rules", "import", "--builtin")
    page.goto(f"http://127.0.0.1:{running.console}/login")
    page.locator("input[name=name]").fill("an")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main button").click()
    page.locator("main button", has_text="Thử ngay").wait_for(timeout=30_000)
    beside = page.context.new_page()
    beside.goto(f"http://127.0.0.1:{running.console}/")

    page.get_by_role("button", name="Thử ngay").click()
    expect(page.locator("[data-state=waiting]")).to_be_visible(timeout=30_000)
    command = page.locator("#line").inner_text()
    subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=True)
    expect(page.locator("[data-state=judged]")).to_contain_text("Dòng thử của “Thử ngay”", timeout=60_000)
    expect(page.locator("[data-state=judged]")).to_contain_text(re.compile(r"tổng cộng \d+,\d giây"))
    expect(beside.locator("#newest")).to_contain_text("Dòng thử của “Thử ngay”", timeout=30_000)
