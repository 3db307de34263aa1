"""The strip of every page tells, without a reload, when a stage stands still, and when all is whole again."""
from __future__ import annotations

import json
import os
import re
import signal

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Centre, wait_for

PASSWORD = "ba con voi vàng"


@pytest.fixture(scope="module")
def watching(running: Centre) -> Centre:
    """The centre with somebody who may log in."""
    running.soc("user", "add", "an", "--role", "administrator", "--password-stdin", text=PASSWORD)
    return running


def test_a_normaliser_that_stands_still_turns_the_strip_red_and_then_all_is_whole(watching: Centre, page: Page) -> None:
    running = watching
    token = running.json("source", "add", "portal-1")[0]["token"]
    page.goto(f"http://127.0.0.1:{running.console}/login?next=/health")
    page.locator("input[name=name]").fill("an")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main button").click()
    now = page.locator("#strip .now")
    expect(now).to_have_attribute("data-status", "ok")
    expect(now).to_contain_text("0/1 nguồn")
    assert running.send(token, b"one line\n")[0] == 200
    expect(now).to_contain_text("1/1 nguồn", timeout=30_000)

    normaliser = int(json.loads((running.data / "run" / "normaliser.json").read_text())["pid"])
    os.kill(normaliser, signal.SIGSTOP)
    try:
        assert running.send(token, b"another line\na third\n")[0] == 200
        expect(now).to_have_attribute("data-status", "failing", timeout=30_000)
        expect(now).to_contain_text(re.compile(r"Sau \d\d:\d\d:\d\d chưa có gì được đánh giá; 2 sự kiện đang chờ"), timeout=60_000)
    finally:
        os.kill(normaliser, signal.SIGCONT)
    expect(now).to_have_attribute("data-status", "ok", timeout=60_000)
    assert wait_for(lambda: running.count() == 3, 30)
    page.locator("#strip a").click()
    expect(page.get_by_role("heading", name="Tình trạng")).to_be_visible(timeout=30_000)


def test_a_console_that_does_not_answer_is_said_on_the_open_page(watching: Centre, page: Page) -> None:
    page.goto(f"http://127.0.0.1:{watching.console}/login")
    page.locator("input[name=name]").fill("an")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main button").click()
    expect(page.locator("#strip .now")).to_have_attribute("data-status", "ok", timeout=40_000)
    page.context.set_offline(True)
    expect(page.locator("#strip .now")).to_have_attribute("data-status", "silent", timeout=40_000)
    expect(page.locator("#strip .now")).to_contain_text("nội dung trên trang đã cũ")
    page.context.set_offline(False)
    expect(page.locator("#strip .now")).to_have_attribute("data-status", "ok", timeout=40_000)
