"""`soc backup FOLDER` and `soc restore FOLDER`: a whole centre into a folder, while it runs, and back."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soc.commands.centre import Options, open_centre
from soc.commands.output import fail, say

__all__ = ["backup", "restore"]


def backup(ctx: typer.Context, folder: Annotated[Path, typer.Argument(help="A new or empty folder.")]) -> None:
    """Copy everything to FOLDER, consistent and checked; the centre may run."""
    from soc.backup import backup as make

    centre = open_centre(ctx, create=False)
    with typer.progressbar(length=100, label="Backing up") as bar:
        done = [0]

        def progress(part: int, whole: int) -> None:
            step = part * 100 // whole - done[0]
            done[0] += step
            bar.update(step)

        card = make(centre.data, folder, progress=progress)
    files = card["files"]
    say(f"Backed up {card['events']} events in {len(files) if isinstance(files, dict) else 0} files to {folder}.")
    if centre.config.database.state.reveal() or centre.config.database.access.reveal():
        say("The databases on PostgreSQL are not in it: dump them at the same time with pg_dump.")


def restore(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The folder of a backup.")],
    check: Annotated[bool, typer.Option("--check", help="Only check that the backup is whole.")] = False,
) -> None:
    """Make the data folder (--data, new or empty) from the backup in FOLDER."""
    from soc.backup import check as verify
    from soc.backup import restore as make

    if check:
        faults = list(verify(folder))
        if faults:
            fail("; ".join(faults[:20]), "use another backup")
        say(f"The backup in {folder} is whole.")
        return
    options: Options = ctx.find_root().obj
    count = make(folder, options.data)
    say(f"Restored {count} files to {options.data}. Start it with: soc --data {options.data} serve")
