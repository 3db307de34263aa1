"""`soc user`: people who may log in, their passwords and API tokens."""
from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from soc.access.passwords import MINIMUM
from soc.access.roles import Permission, Role
from soc.access.tokens import TokenStore
from soc.access.users import User, UserStore
from soc.commands.centre import Centre, open_centre
from soc.commands.output import fail, say, show
from soc.errors import NotFoundError
from soc.event import Scope, from_micros, to_micros
from soc.secret import Secret

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="People who may log in.", rich_markup_mode="rich")

_Name = Annotated[str, typer.Argument(help="The user's name.")]
_Stdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking.")]
_Roles = Annotated[list[Role] | None, typer.Option("--role", help="What the person is; repeat it for several.")]
_Agencies = Annotated[list[str] | None, typer.Option(
    "--agency", help="Sees this agency and all under it; repeat it for several. An analyst without any sees the whole province.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Limit = Annotated[int, typer.Option("--limit", min=1, help="Most rows.")]


@app.command("add")
def add(
    ctx: typer.Context, name: _Name, role: _Roles = None, agency: _Agencies = None, password_stdin: _Stdin = False,
) -> None:
    """Add a user; the role is viewer if none is given. Asks for the password."""
    roles = role or [Role.VIEWER]
    if roles == [Role.VIEWER] and not agency:
        fail("a viewer sees only their agencies", "give --agency, or another --role", code=2)
    centre = open_centre(ctx)
    users = UserStore(centre.access, centre=centre.config.centre.name)
    user = users.add(name, _password(password_stdin), roles, agency or (), actor=centre.actor, now=_now())
    say(f"Added {user.name} ({', '.join(user.roles)}).")


@app.command("list")
def list_(
    ctx: typer.Context,
    role: Annotated[Role | None, typer.Option("--role", help="Only people of this role.")] = None,
    agency: Annotated[str | None, typer.Option("--agency", help="Only people of this agency.")] = None,
    limit: _Limit = 1000,
    as_json: _Json = False,
) -> None:
    """List users."""
    users = [
        user for user in UserStore(open_centre(ctx).access).list(Scope.everything(), limit=1_000_000)
        if (role is None or role in user.roles) and (agency is None or agency in user.agencies)
    ]
    rows = [
        {
            "id": user.id, "name": user.name, "roles": list(user.roles), "agencies": list(user.agencies), "enabled": user.enabled,
            "created": from_micros(user.created).isoformat(), "password_changed": from_micros(user.password_changed).isoformat(),
        }
        for user in users[:limit]
    ]
    columns = ["name", "roles", "agencies", "enabled", "id"]
    show(rows, columns, as_json=as_json, empty="No users; soc serve prints a set-up link.")


@app.command("disable")
def disable(ctx: typer.Context, name: _Name) -> None:
    """Keep a user out; their sessions and tokens end at once."""
    _switch(ctx, name, False)


@app.command("enable")
def enable(ctx: typer.Context, name: _Name) -> None:
    """Let a disabled user in again."""
    _switch(ctx, name, True)


@app.command("role")
def role_(ctx: typer.Context, name: _Name, role: _Roles = None, agency: _Agencies = None) -> None:
    """Give a user these roles and agencies instead of those they had; their sessions end."""
    if not role:
        fail("say which: --role", code=2)
    centre = open_centre(ctx)
    user = _user(centre, name)
    UserStore(centre.access).set_roles(user.id, role, agency or (), actor=centre.actor, now=_now())
    say(f"{user.name} is now {', '.join(role)}.")


@app.command("password")
def password(ctx: typer.Context, name: _Name, password_stdin: _Stdin = False) -> None:
    """Set a user's password; all their sessions end."""
    centre = open_centre(ctx)
    user = _user(centre, name)
    UserStore(centre.access, centre=centre.config.centre.name).set_password(user.id, _password(password_stdin), actor=centre.actor, now=_now())
    say(f"Changed the password of {user.name}; their sessions ended.")


@app.command("token")
def token(
    ctx: typer.Context,
    name: _Name,
    label: Annotated[str, typer.Option("--label", help="What the token is for.")] = "command line",
    scope: Annotated[list[Permission] | None, typer.Option(
        "--scope", help="A permission of the token; repeat it. Reading events, alerts, rules and sources if not given.")] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=3660, help="Days until it ends.")] = 90,
    revoke: Annotated[str | None, typer.Option("--revoke", help="End the token of this id instead.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the user's tokens instead.")] = False,
    limit: _Limit = 1000,
    as_json: _Json = False,
) -> None:
    """Make an API token for a user and print it, once; or list and end their tokens."""
    centre = open_centre(ctx)
    user, tokens, now = _user(centre, name), TokenStore(centre.access), _now()
    if revoke is not None:
        tokens.revoke(revoke, user=user.id, actor=centre.actor, now=now)
        say(f"Ended {revoke}.")
        return
    if listing:
        rows = [
            {
                "id": each.id, "name": each.name, "scopes": sorted(each.scopes), "created": from_micros(each.created).isoformat(),
                "expires": from_micros(each.expires).isoformat(), "used": _time(each.used), "revoked": _time(each.revoked),
            }
            for each in tokens.list(user.id)[:limit]
        ]
        show(rows, ["id", "name", "scopes", "expires", "used", "revoked"], as_json=as_json, empty=f"{name} has no tokens.")
        return
    scopes = scope or [Permission.EVENTS_READ, Permission.ALERTS_READ, Permission.RULES_READ, Permission.SOURCES_READ]
    expires = now + timedelta(days=days) // timedelta(microseconds=1)
    made, text = tokens.create(user.id, label, scopes, expires=expires, actor=centre.actor, now=now)
    if as_json:
        row = {"id": made.id, "token": text.reveal(), "scopes": sorted(made.scopes), "expires": from_micros(expires).isoformat()}
        show([row], ["id"], as_json=True)
        return
    say(f"Token {made.id} of {user.name}, until {from_micros(expires):%Y-%m-%d}. Keep it now: it is not shown again.")
    typer.echo(text.reveal())


def _switch(ctx: typer.Context, name: str, enabled: bool) -> None:
    centre = open_centre(ctx)
    user = _user(centre, name)
    UserStore(centre.access).set_enabled(user.id, enabled, actor=centre.actor, now=_now())
    say(f"{user.name} is {'let in' if enabled else 'kept out'}; their sessions ended.")


def _user(centre: Centre, name: str) -> User:
    found = UserStore(centre.access).by_name(name)
    if found is None:
        raise NotFoundError(f"no user {name[:64]!r}", remedy="`soc user list` shows them")
    return found


def _password(from_stdin: bool) -> Secret:
    """The password: the first line of standard input, or asked for twice without echo."""
    if from_stdin:
        return Secret(sys.stdin.readline(4096).rstrip("\r\n"))
    if not sys.stdin.isatty():
        fail("there is no terminal to ask for the password", "give it with --password-stdin", code=2)
    return Secret(typer.prompt(f"Password (at least {MINIMUM} characters)", hide_input=True, confirmation_prompt=True, err=True))


def _time(micros: int | None) -> str | None:
    return None if micros is None else from_micros(micros).isoformat()


def _now() -> int:
    return to_micros(datetime.now(UTC))
