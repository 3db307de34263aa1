"""Lists by keyboard, and a list of alerts that says what came without moving under its reader."""
from __future__ import annotations

import re
import subprocess

from playwright.sync_api import Page, expect

from tests.e2e.conftest import Centre

PASSWORD = "ba con voi vàng"


def test_lists_are_walked_by_keys_and_new_alerts_are_announced(running: Centre, page: Page) -> None:
    running.soc("user", "add", "an", "--role", "administrator", "--password-stdin", text=PASSWORD)
    running.soc("rules", "import", "--builtin")
    base = f"http://127.0.0.1:{running.console}"
    page.goto(f"{base}/login")
    page.locator("input[name=name]").fill("an")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main button").click()
    page.locator("main button", has_text="Thử ngay").wait_for(timeout=30_000)

    page.goto(f"{base}/rules")
    links = page.locator("main tbody tr td:nth-child(2) a")
    page.keyboard.press("j")
    expect(links.nth(0)).to_be_focused(timeout=30_000)
    page.keyboard.press("j")
    expect(links.nth(1)).to_be_focused(timeout=30_000)
    page.keyboard.press("k")
    expect(links.nth(0)).to_be_focused(timeout=30_000)
    page.keyboard.press("/")
    expect(page.locator("input[name=text]")).to_be_focused(timeout=30_000)
    page.keyboard.type("jk?")
    expect(page.locator("input[name=text]")).to_have_value("jk?", timeout=30_000)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible(timeout=30_000)
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden(timeout=30_000)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/rules/[0-9a-f-]{36}"), timeout=30_000)
    page.keyboard.press("g")
    page.keyboard.press("2")
    page.wait_for_url(re.compile(r"/alerts$"), timeout=30_000)

    expect(page.locator("#newest")).to_contain_text("Không có cảnh báo. Tính đến", timeout=30_000)
    trial = page.context.new_page()
    trial.goto(base)
    trial.get_by_role("button", name="Thử ngay").click()
    expect(trial.locator("[data-state=waiting]")).to_be_visible(timeout=30_000)
    subprocess.run(["sh", "-c", trial.locator("#line").inner_text()], capture_output=True, timeout=60, check=True)
    button = page.locator("#changed button")
    expect(button).to_have_text("Cảnh báo mới: 1. Hiện", timeout=60_000)
    assert page.locator("#newest tbody tr").count() == 0, "nothing moves before it is asked for"
    button.click()
    expect(page.locator("#newest tbody a")).to_be_focused(timeout=30_000)
    expect(page.locator("#changed")).to_be_hidden(timeout=30_000)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Thử ngay", timeout=30_000)
    around = page.locator(".atoms a", has_text="host.name").first
    around.click()
    expect(page.locator("main tbody tr")).not_to_have_count(0, timeout=30_000)
