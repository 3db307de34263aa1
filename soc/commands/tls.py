"""`soc tls`: certificates for listening beyond this machine."""
from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Annotated

import typer

from soc.commands.centre import open_centre
from soc.commands.output import say, show
from soc.setting import Kind, Setting
from soc.tls import certificate_facts, make_certificates

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Certificates for listening beyond this machine.", rich_markup_mode="rich")


@app.callback()
def _group() -> None:
    """Certificates for listening beyond this machine."""


@app.command("init")
def init(
    ctx: typer.Context,
    host: Annotated[list[str] | None, typer.Option(
        "--host", help="Name or address that clients use; repeat it for several. This machine's name is the default.")] = None,
    renew: Annotated[bool, typer.Option("--renew", help="A new server certificate of the same authority.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make an authority and a server certificate under tls/ of the data folder."""
    names = list(host or ([] if renew else [socket.gethostname()]))
    wanted = Setting(Kind.HOST, "", "")
    for name in names:
        try:
            wanted.read(name)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--host") from error
    centre = open_centre(ctx)
    files = make_certificates(centre.data / "tls", names, datetime.now(UTC), renew=renew)
    rows = []
    for what, path in (("authority", files.authority), ("server", files.certificate)):
        if path is not None:
            facts = certificate_facts(path)
            rows.append({"what": what, "file": str(path), "names": ", ".join(facts.names), "ends": facts.ends.isoformat(),
                         "sha256": facts.fingerprint})
    show(rows, ["what", "file", "names", "ends", "sha256"], as_json=as_json)
    if not as_json:
        say("")
        say(f"Clients must trust {files.authority} (compare its fingerprint over another way):")
        say(f"  Debian/Ubuntu  copy it to /usr/local/share/ca-certificates/soc.crt, then update-ca-certificates\n"
            f"  Windows        certutil -addstore Root {files.authority.name if files.authority else 'ca.crt'}\n"
            f"  curl           curl --cacert {files.authority} https://{names[0] if names else 'localhost'}:"
            f"{centre.reached.gateway.port}/")
        say("Next: set gateway.host and console.host in the configuration, then start again." if not renew
            else "The running server uses it after its next start.")
