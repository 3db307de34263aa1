"""The rules of a relay by keyboard and mouse in a browser: from what came to rules that split what comes next, and back."""
from __future__ import annotations

import socket

from playwright.sync_api import Page, expect

from tests.e2e.conftest import Centre, wait_for

PASSWORD = "ba con voi vàng"


def sent(centre: Centre, mark: str) -> None:
    with socket.create_connection(("127.0.0.1", centre.syslog), 10) as wire:
        for host in ("c1.edu.vn", "c2.edu.vn", "bv.health.vn", "elsewhere"):
            wire.sendall(f"<13>Feb 28 16:10:11 {host} app: {mark} of {host}\n".encode())
    wait_for(lambda: centre.count(f'"{mark} of"') == 4, 45, 0.5)


def test_a_relay_is_split_on_the_page(running: Centre, page: Page) -> None:
    running.soc("user", "add", "an", "--role", "administrator", "--password-stdin", text=PASSWORD)
    running.soc("agency", "add", "edu", "--name", "Sở Giáo dục")
    running.soc("agency", "add", "health", "--name", "Sở Y tế")
    running.soc("source", "add", "relay", "--as", "rsyslog", "--over", "tcp", "--address", "127.0.0.1")
    sent(running, "before")
    at = f"http://127.0.0.1:{running.console}"
    page.goto(f"{at}/login?next=/sources/relay")
    page.locator("input[name=name]").fill("an")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main button").click()
    page.get_by_role("link", name="Sửa").click()

    page.get_by_label("Tên máy hoặc địa chỉ, luật 1").fill("*.vn")
    page.get_by_label("Đơn vị 1").select_option("edu")
    page.get_by_label("Tên máy hoặc địa chỉ, luật 1").press("Enter")  # Enter previews, and saves nothing
    preview = page.locator("#preview ~ table").first
    expect(preview.get_by_role("row").filter(has_text="elsewhere")).to_contain_text("không có", timeout=30_000)
    expect(preview.get_by_role("row").filter(has_text="bv.health.vn")).to_contain_text("Sở Giáo dục", timeout=30_000)
    expect(page.get_by_text("Chưa lưu.")).to_be_visible(timeout=30_000)

    page.get_by_label("Tên máy hoặc địa chỉ, luật 2").fill("*.health.vn")
    page.get_by_label("Đơn vị 2").select_option("health")
    page.get_by_label("Tên máy hoặc địa chỉ, luật 2").press("Alt+ArrowUp")
    expect(page.get_by_label("Tên máy hoặc địa chỉ, luật 1")).to_have_value("*.health.vn", timeout=30_000)
    expect(page.get_by_role("button", name="Đưa luật 1 xuống")).to_be_focused(timeout=30_000)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Tên máy hoặc địa chỉ, luật 2")).to_have_value("*.health.vn", timeout=30_000)
    page.get_by_role("button", name="Đưa luật 2 lên").press("Space")
    expect(page.get_by_label("Tên máy hoặc địa chỉ, luật 1")).to_have_value("*.health.vn", timeout=30_000)
    page.get_by_role("button", name="Xem trước").click()
    expect(preview.get_by_role("row").filter(has_text="bv.health.vn")).to_contain_text("Sở Y tế", timeout=30_000)
    page.get_by_role("button", name="Thêm luật cho elsewhere").click()
    expect(page.get_by_label("Đơn vị 3")).to_be_focused(timeout=30_000)
    page.get_by_role("button", name="Bỏ luật 3").click()

    page.get_by_role("button", name="Lưu", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("phiên bản 1", timeout=30_000)
    marks = (f"after{number}" for number in range(100))
    wait_for(lambda: split(running, next(marks)), 45, 0.5)

    other = page.context.new_page()
    other.goto(f"{at}/sources/relay/relay")
    other.get_by_role("button", name="Bỏ luật 2").click()
    other.get_by_role("button", name="Lưu", exact=True).click()
    expect(other.get_by_role("status")).to_contain_text("phiên bản 2", timeout=30_000)
    page.get_by_role("button", name="Bỏ luật 1").click()
    page.get_by_role("button", name="Lưu", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("an đã đổi các luật này", timeout=30_000)
    assert [rule["host"] for rule in running.json("source", "relay", "list", "relay")] == ["*.health.vn"]
    page.get_by_role("link", name="Bỏ bản của bạn").click()
    expect(page.get_by_label("Tên máy hoặc địa chỉ, luật 1")).to_have_value("*.health.vn", timeout=30_000)

    other.get_by_role("button", name="Hoàn tác").click()
    expect(other.get_by_role("status")).to_contain_text("phiên bản 3", timeout=30_000)
    assert [rule["agency"] for rule in running.json("source", "relay", "list", "relay")] == ["health", "edu"]
    assert [edit["version"] for edit in running.json("source", "relay", "history", "relay")] == [3, 2, 1, 0]


def split(centre: Centre, mark: str) -> bool:
    """Whether what comes now is split; a change is live within seconds."""
    sent(centre, mark)
    found = {event["host.name"]: event["organization.id"] for event in centre.json("events", "search", f'"{mark} of"')}
    return found == {"c1.edu.vn": "edu", "c2.edu.vn": "edu", "bv.health.vn": "health", "elsewhere": "unassigned"}
