"""`soc rules fetch`: the public rule release from its address into the centre."""
from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path
from typing import Annotated

import typer

from soc.commands.output import say
from soc.detect.packwork import PackWork

__all__ = ["end_with_stdin", "fetch"]


def fetch(
    ctx: typer.Context,
    url: Annotated[str, typer.Option("--url", help="Another address than rules.release_url of the configuration.")] = "",
    sha256: Annotated[str, typer.Option("--sha256", help="Take nothing but this, instead of rules.release_sha256.")] = "",
    off: Annotated[bool, typer.Option("--off", help="Leave new rules switched off.")] = False,
    name: Annotated[str, typer.Option("--name", help="The pack's name.")] = "sigma",
    noted: Annotated[bool, typer.Option("--noted", hidden=True)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fetch the public SigmaHQ release and take it in, as `soc rules import` does; the page of rule packs shows how far it is.

    Its version and checksum are shown and audited. Behind a proxy set HTTPS_PROXY. Again, it replaces the pack by what is there then.
    """
    from soc.commands.rules import rule_store, take_in
    from soc.detect.release import Release, fetch_release

    if noted:
        end_with_stdin()
    store, centre = rule_store(ctx)
    address = url or centre.config.rules.release_url
    checksum = sha256 or ("" if url else centre.config.rules.release_sha256)
    place = _place(centre.data)
    try:
        with PackWork(centre.data / "run", name) as work:
            work.stage("fetching", address=address)
            found: Release = fetch_release(address, place, sha256=checksum, progress=work.progress)
            facts = {"address": found.address, "version": found.version, "sha256": found.sha256, "bytes": found.size, "checked": bool(checksum)}
            say(f"Fetched {found.address} ({found.size:,} bytes{f', version {found.version}' if found.version else ''})\n"
                f"SHA-256 {found.sha256}{' as configured' if checksum else ''}")
            work.stage("importing", release=facts)
            take_in(store, centre, place, name, off=off, as_json=as_json, work=work, source=facts)
    finally:
        place.unlink(missing_ok=True)


def end_with_stdin() -> None:
    """End this process when its standard input does: whoever started it, to do something in the background, is gone then."""
    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock a thread may not hold while the process ends
            pass
        os._exit(3)

    os.nice(5)  # what is live goes first
    threading.Thread(target=wait, name="stdin", daemon=True).start()


def _place(data: Path) -> Path:
    folder = data / "tmp"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"rulepack-{secrets.token_hex(8)}.zip"
