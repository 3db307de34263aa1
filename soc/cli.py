"""The command `soc`: its root, its global options, and how errors reach people.

Commands live in `soc/commands/`; each is imported only when it is called.
"""
from __future__ import annotations

import importlib
import os
import sys
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from soc.errors import ConfigError, SocError

__all__ = ["COMMANDS", "app", "command", "main"]


@dataclass(frozen=True, slots=True)
class Mounted:
    """Where a command's code is: `name` is a Typer app, or a function, of `module`."""

    module: str
    name: str
    help: str
    panel: str


_RUN, _LOGS, _WATCH, _ADMIN, _KEEP = "Run", "Logs in", "Watch", "Administer", "Keep"

COMMANDS: dict[str, Mounted] = {
    "serve": Mounted("serve", "serve", "Run the centre: gateway, normaliser, detector and console.", _RUN),
    "doctor": Mounted("doctor", "doctor", "Check this machine and data folder, and say what to do.", _RUN),
    "service": Mounted("service", "app", "The centre as a systemd service.", _RUN),
    "tls": Mounted("tls", "app", "Certificates for listening beyond this machine.", _RUN),
    "demo": Mounted("demo", "app", "The demonstration of `soc serve --demo`: what is planted in it; take it away.", _RUN),
    "import": Mounted("import_", "app", "Bring log files in; list and undo imports.", _LOGS),
    "source": Mounted("source", "app", "Log sources that may send, and their tokens.", _LOGS),
    "deadletters": Mounted("deadletters", "app", "Records that could not be parsed: list, show, replay.", _LOGS),
    "events": Mounted("events", "app", "Search and count events.", _WATCH),
    "alerts": Mounted("alerts", "app", "List, show and close alerts.", _WATCH),
    "rules": Mounted("rules", "app", "Detection rules: import, check, test, switch on and off.", _WATCH),
    "agency": Mounted("agency", "app", "The agencies being watched.", _ADMIN),
    "user": Mounted("user", "app", "People who may log in.", _ADMIN),
    "store": Mounted("store", "app", "The event store: status, retention, verification.", _KEEP),
    "backup": Mounted("backup", "backup", "Copy everything to a folder, while running.", _KEEP),
    "restore": Mounted("backup", "restore", "Make a data folder from a backup.", _KEEP),
}


class LazyGroup(TyperGroup):
    """Knows every command's name and help; imports its code only when it is to run."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, mounted in COMMANDS.items():
            self.add_command(TyperCommand(name, help=mounted.help, rich_help_panel=mounted.panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, command(name) if name and found else found, rest


def command(name: str) -> Any:
    """The real command `name`, its module imported. Raises SocError if this build lacks it."""
    mounted = COMMANDS[name]
    module_name = f"soc.commands.{mounted.module}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        raise SocError(f"this build has no command {name!r}") from error
    target = getattr(module, mounted.name)
    if isinstance(target, typer.Typer):
        target._add_completion = False  # the root offers it
        loaded = typer.main.get_command(target)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode="rich")
        single.command(name)(target)
        loaded = typer.main.get_command(single)
    loaded.name = name
    return loaded


app = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 fine, 1 it failed or found faults, 2 wrong usage.",
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"soc {version('soc')}")
        except PackageNotFoundError:
            typer.echo("soc (not installed)")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    data: Annotated[Path, typer.Option(
        envvar="SOC_DATA", help="The data folder. Accepted before or after the command.")] = Path("data"),
    config: Annotated[Path | None, typer.Option(
        envvar="SOC_CONFIG", help="Configuration file; without it the defaults of config.yaml hold.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the full trace of an unexpected error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """[bold]soc[/] — a security monitoring centre: logs in, alerts out, complete to the record."""
    from soc.commands.centre import Options
    from soc.commands.output import quiet

    ctx.obj = Options(data, config, verbose)
    ctx.call_on_close(lambda: quiet(False))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; leaves through SystemExit with 0, 1 (failed, found faults) or 2 (usage)."""
    given = hoist(sys.argv[1:] if arguments is None else arguments)
    try:
        typer.main.get_command(app).main(args=given, prog_name="soc")
    except SocError as error:
        _refused(error)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:  # the outermost edge: one line for people, the trace in a file
        if "--verbose" in given:
            raise
        _unexpected(error, given)
        raise SystemExit(1) from None


def hoist(arguments: list[str]) -> list[str]:
    """Move --data, --config and --verbose to the front, so that they may stand after the command too."""
    front: list[str] = []
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if word == "--":
            rest += [word, *queue]
            break
        if word in ("--data", "--config") and queue:
            front += [word, queue.pop(0)]
        elif word == "--verbose" or word.startswith(("--data=", "--config=")):
            front.append(word)
        else:
            rest.append(word)
    return front + rest


def _refused(error: SocError) -> None:
    from soc.commands.output import fail

    faults = error.faults if isinstance(error, ConfigError) else ()
    try:
        if faults:
            fail(f"{len(faults)} fault{'s' * (len(faults) > 1)} in the configuration:\n" + "\n".join(faults),
                 "nothing was touched; mend them and start again")
        fail(str(error).removesuffix(f" ({error.remedy})"), error.remedy)
    except typer.Exit:
        return


def _unexpected(error: Exception, given: list[str]) -> None:
    from soc.commands.output import fail

    try:
        fail(f"unexpected {type(error).__name__}: {error}", _keep_trace(error, given))
    except typer.Exit:
        return


def _keep_trace(error: Exception, given: list[str]) -> str:
    """Write the trace under the data folder's run/ if that exists; say where it is."""
    named = [following for word, following in pairwise(given) if word == "--data"]
    named += [word.removeprefix("--data=") for word in given if word.startswith("--data=")]
    folder = Path(named[-1] if named else os.environ.get("SOC_DATA") or "data") / "run"
    if not folder.is_dir():
        return "run it again with --verbose for the trace"
    now = datetime.now(UTC)
    path = folder / f"crash-{now:%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{now.isoformat()} soc {given[:1]}\n")
            file.writelines(traceback.format_exception(error))
    except OSError:
        return "run it again with --verbose for the trace"
    return f"the trace is in {path}"


if __name__ == "__main__":
    main()
