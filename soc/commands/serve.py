"""`soc serve`: the centre, until Ctrl-C. Prints where it listens and, for a new centre, the one-time set-up link."""
from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Annotated

import typer

from soc.commands.centre import Options
from soc.commands.greeting import afar, shown_host
from soc.commands.output import say
from soc.config import Config

__all__ = ["serve"]

_PATIENCE = 30.0
"""Seconds after which the addresses are told though they do not answer yet."""


def serve(
    ctx: typer.Context,
    role: Annotated[list[str] | None, typer.Option("--role", help="Run only this role (gateway, normaliser, detector, console); repeatable.")] = None,
    demo: Annotated[bool, typer.Option(
        "--demo", help="Play a demonstration of two invented agencies, if the data folder is empty; `soc demo remove` takes it away.")] = False,
) -> None:
    """Run the centre: gateway, normaliser, detector and console, each a process that is restarted if it dies."""
    from soc.addresses import addresses_of
    from soc.commands.ports import ports_of, refuse_taken
    from soc.errors import InputRefused, SocError
    from soc.opening import prepare
    from soc.processes import DEMONSTRATION, ROLES, arguments, guards, processes
    from soc.supervisor import Supervisor, apart
    from soc.tls import tls_for

    options: Options = ctx.find_root().obj
    config = Config.load(options.config)
    for name in role or ():
        if name not in ROLES:
            raise InputRefused(f"there is no role {name!r}", remedy=f"roles are {', '.join(ROLES)}")
    for name, host in (("console", config.console.host), ("gateway", config.gateway.host)):
        if name in (role or ROLES):
            apart(tls_for, config, options.data, host, name)  # before anything is touched: ConfigError where certificates are wanting
    folder = apart(prepare, options.data, config)
    with folder.lock():
        refuse_taken(list(ports_of(config, role or ROLES, tls=apart(_has_certificates, options, config))))
        played = [*processes(role or ROLES, config), *([DEMONSTRATION] if demo else [])]
        supervisor = Supervisor(options.data / "run", played, arguments(options.data, options.config, local=False),
                                say=say, guards=guards(options.data, config), listens=addresses_of(config, role or ROLES))
        supervisor.start()
        say(f"Starting on {options.data} (Ctrl-C stops it; nothing acknowledged is lost).")
        listeners = [(config.console.host, config.console.port)] if not role or "console" in role else []
        listeners += [(config.gateway.host, config.gateway.port)] if not role or "gateway" in role else []
        until = time.monotonic() + _PATIENCE

        def announce() -> None:
            """Say the addresses once, as soon as they answer."""
            if listeners and (all(_answers(*one) for one in listeners) or time.monotonic() > until):
                with suppress(SocError, OSError):  # a full disk takes no set-up token and must not end the centre: tried again
                    say("\n".join(_addresses(options, config, role or ROLES, demo)))
                    listeners.clear()

        supervisor.run(announce)
        say("Stopped.")


def _addresses(options: Options, config: Config, roles: Sequence[str], demo: bool) -> Iterator[str]:
    from soc.supervisor import apart

    if "console" in roles:
        yield f"Console   http{_s(options, config)}://{_host(options, config, config.console.host)}:{config.console.port}/"
        if link := apart(_setup_link, options, config):
            yield f"Set-up    {link}   (once, within 24 hours)"
    if "gateway" in roles:
        yield f"Ingest    http{_s(options, config)}://{_host(options, config, config.gateway.host)}:{config.gateway.port}/ingest/v1/events"
        if config.syslog.enabled and config.syslog.plain:
            yield f"Syslog    {_host(options, config, config.syslog.host)}:{config.syslog.port} (UDP and TCP)"
        if config.syslog.enabled and apart(_has_certificates, options, config):
            yield f"Syslog    {_host(options, config, config.syslog.host)}:{config.syslog.tls_port} (TLS)"
    if demo:
        from soc.machine import own_logs

        logs = own_logs(config.machine.files, journal=config.machine.journal)
        if names := [one.name for one in logs if not one.remedy]:
            yield f"Follows   {', '.join(names)}   (this machine's own logs, as they grow)"
        for one in logs:
            if one.remedy:
                yield f"Not read  {one.name}: {one.remedy}   (then log in again and start anew)"
    yield from afar(config, options, roles, certificates=apart(_has_certificates, options, config))


def _answers(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection((host, port), 0.5).close()
    except OSError:
        return False
    return True


def _setup_link(options: Options, config: Config) -> str:
    from soc.access.setup import Setup
    from soc.opening import open_databases

    state, access = open_databases(options.data, config)
    try:
        token = Setup(access).issue(now=time.time_ns() // 1000)
    finally:
        state.close()
        access.close()
    if token is None:
        return ""
    return f"http{_s(options, config)}://{_host(options, config, config.console.host)}:{config.console.port}/setup?token={token.reveal()}"


def _s(options: Options, config: Config) -> str:
    from soc.tls import tls_for

    return "s" if tls_for(config, options.data, config.console.host, "console") else ""


def _has_certificates(options: Options, config: Config) -> bool:
    from soc.tls import tls_for

    return tls_for(config, options.data, "127.0.0.1", "syslog") is not None


def _host(options: Options, config: Config, host: str) -> str:
    from soc.tls import tls_for

    files = tls_for(config, options.data, "127.0.0.1", "console")
    return shown_host(host, files.certificate if files else None)
