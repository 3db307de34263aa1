"""`soc service`: the centre as a systemd service that survives a reboot."""
from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from soc.commands.centre import Options
from soc.commands.output import fail, say
from soc.commands.service_unit import FIRST_LINE, Service, unit_text, unreachable
from soc.config import Config

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The centre as a systemd service.", rich_markup_mode="rich")

_UNITS = Path("/etc/systemd/system")
_RUNS = Path("/run/systemd/system")
"""There while systemd runs this machine (sd_booted(3))."""
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")

_Name = Annotated[str, typer.Option("--name", help="The service's name.")]


@app.command("install")
def install(
    ctx: typer.Context,
    user_name: Annotated[str, typer.Option("--user-name", help="Who it runs as; made if there is no such user.")] = "soc",
    name: _Name = "soc",
    only_print: Annotated[bool, typer.Option("--print", help="Only print the unit; change nothing.")] = False,
) -> None:
    """Start the centre now and at every boot, as a user of its own. Its data is /var/lib/NAME unless --data names a folder."""
    options: Options = ctx.find_root().obj
    for given, option in ((user_name, "--user-name"), (name, "--name")):
        if not _NAME.fullmatch(given):
            raise typer.BadParameter(f"{given!r} is no name here: small letters, digits, - and _", param_hint=option)
    service = _service(options, Config.load(options.config), name, user_name)
    text = unit_text(service)
    if only_print:
        typer.echo(text, nl=False)
        return
    again = " ".join(["sudo", *service.program, *(["--data", str(service.data)] if options.data != Path("data") else []),
                      *(["--config", str(service.config)] if service.config else []), "service", "install"])
    _may_change(again)
    place = _UNITS / f"{name}.service"
    if place.exists() and not _ours(place):
        fail(f"{place} is there, and not of ours", f"look at it; then remove it, or give --name another name than {name}")
    _make_user(user_name, service.data)
    _check_reach(service)
    _write(place, text)
    _systemctl("daemon-reload")
    _systemctl("enable", "--quiet", f"{name}.service")
    _systemctl("restart", f"{name}.service")
    say(f"{name}.service runs as {user_name} on {service.data}, now and after every boot ({place}).")
    say(f"  its words, with the set-up link:  journalctl -u {name} -o cat\n"
        f"  is it well:                       systemctl status {name}\n"
        f"  commands:                         sudo -u {user_name} {' '.join(service.program)} --data {service.data} doctor")


@app.command("remove")
def remove(name: _Name = "soc") -> None:
    """Stop the service and take its unit away. Data and user stay."""
    place = _UNITS / f"{name}.service"
    _may_change(f"sudo {Path(sys.executable).parent / 'soc'} service remove")
    if not place.exists():
        fail(f"there is no {place}", "systemctl list-units --type=service shows what there is; --name names another")
    if not _ours(place):
        fail(f"{place} was not written by `soc service install`", f"systemctl disable --now {name}, then remove it by hand")
    user, data = _of(place, "User"), _data_of(place)
    _systemctl("disable", "--now", "--quiet", f"{name}.service")
    place.unlink()
    _systemctl("daemon-reload")
    say(f"{name}.service is gone. What it kept stays in {data}; its user {user}, too (userdel {user} removes that).")


# ---- helpers of this file


def _service(options: Options, config: Config, name: str, user: str) -> Service:
    program = Path(sys.executable).parent / "soc"
    ports = [config.console.port, config.gateway.port, *([config.syslog.port, config.syslog.tls_port] if config.syslog.enabled else [])]
    return Service(
        name, user, (str(program),) if program.exists() else (sys.executable, "-m", "soc.cli"),
        data=Path("/var/lib") / name if options.data == Path("data") else options.data.absolute(),
        config=options.config.absolute() if options.config else None, low_ports=any(0 < port < 1024 for port in ports))


def _may_change(again: str) -> None:
    """Leave with a word unless systemd is there and this is root."""
    if shutil.which("systemctl") is None or not _RUNS.is_dir():
        fail("systemd does not run this machine (a container, or another init)",
             "keep `soc serve` running by what runs services here; `soc service install --print` shows the unit for a machine with systemd")
    if os.geteuid() != 0:
        fail("only root may install or remove a service", again)


def _make_user(user: str, data: Path) -> None:
    try:
        pwd.getpwnam(user)
        return
    except KeyError:
        pass
    shell = next((one for one in ("/usr/sbin/nologin", "/sbin/nologin") if Path(one).exists()), "/bin/false")
    done = subprocess.run(["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(data), "--shell", shell, user],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"the user {user} cannot be made: {done.stderr.strip()}", "--user-name names one that there is")


def _check_reach(service: Service) -> None:
    """Leave with a word unless the service's user gets at the program, its Python, its code, its configuration and its data."""
    needed = [Path(service.program[0]), Path(sys.executable).resolve(), Path(__file__).resolve(), *([service.config] if service.config else [])]
    if barred := unreachable(service.user, needed):
        fail(f"the user {service.user} may not pass {barred}, where the program or its Python lies",
             f"move the program to /opt and install from there, or name who owns it: --user-name {barred.owner()}")
    if service.config and not _readable(service.config, service.user):
        fail(f"the user {service.user} may not read {service.config}", f"chown {service.user} {service.config}")
    data = service.data
    if data.exists() and data.owner() != service.user and any(data.iterdir()):
        fail(f"{data} belongs to {data.owner()}, and the service would run as {service.user}",
             f"--user-name {data.owner()}, or hand it over: chown -R {service.user}: {data}")
    if not data.is_relative_to("/var/lib"):
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(data.iterdir()):
            shutil.chown(data, service.user)
        if barred := unreachable(service.user, [data / "centre.json"]):
            fail(f"the user {service.user} may not pass {barred}, where the data is to lie", "name a folder below /var/lib or /srv with --data")


def _readable(path: Path, user: str) -> bool:
    if not path.is_file():
        return False
    mode, owner = path.stat().st_mode, path.owner()
    return bool(mode & 0o004) or (owner == user and bool(mode & 0o400)) or (path.group() == user and bool(mode & 0o040))


def _write(place: Path, text: str) -> None:
    temporary = place.with_name(f".{place.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.chmod(0o644)
    os.replace(temporary, place)


def _ours(place: Path) -> bool:
    return place.read_text(encoding="utf-8", errors="replace").startswith(FIRST_LINE)


def _of(place: Path, key: str) -> str:
    found = re.search(rf"^{key}=(.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def _data_of(place: Path) -> str:
    found = re.search(r' --data ("[^"]*"|\S+)', _of(place, "ExecStart"))
    return found[1].strip('"') if found else "its data folder"


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        fail(f"systemctl {' '.join(words)}: {done.stderr.strip()[:500] or f'exit {done.returncode}'}",
             f"journalctl -u {words[-1].removesuffix('.service')} -n 20 says why")
