"""The doors: password login, session, API token. Each turns a credential into a Principal, or into nothing."""
from __future__ import annotations

from dataclasses import replace

from soc.access.agencies import AgencyStore
from soc.access.audit import Audit
from soc.access.passwords import needs_rehash, verify_password
from soc.access.principal import Principal
from soc.access.roles import permissions_of
from soc.access.sessions import ABSOLUTE, IDLE, Session, SessionStore
from soc.access.throttle import Throttle
from soc.access.tokens import PREFIX, TokenStore
from soc.access.users import User, UserStore, name_key, scope_of
from soc.database import Database
from soc.errors import PermissionDenied
from soc.secret import Secret

__all__ = ["Authentication", "LoginRefused"]


class LoginRefused(PermissionDenied):
    """The one answer to every failed login. `retry_after` in seconds: more than 0 means too many attempts (HTTP 429)."""

    def __init__(self, retry_after: int = 0) -> None:
        super().__init__("too many attempts; wait and try again" if retry_after else "the name or the password is wrong")
        self.retry_after = retry_after


class Authentication:
    """Lets people and programs in, and names who they are. A session ends `session` microseconds after its login, and `idle` after its last use."""

    def __init__(self, database: Database, *, session: int = ABSOLUTE, idle: int = IDLE, centre: str = "") -> None:
        self.users = UserStore(database, centre=centre)
        self.sessions = SessionStore(database, absolute=session, idle=idle)
        self.tokens = TokenStore(database)
        self._agencies = AgencyStore(database)
        self._throttle = Throttle(database)
        self._audit = Audit(database)

    def login(self, name: str, password: Secret, *, source: str, now: int, old_session: Secret | None = None) -> Secret:
        """The token of a new session; a session the browser already held ends (fixation).

        Unknown, disabled and wrong take the same time and get the same answer. `source` is the caller's
        address. Raises LoginRefused.
        """
        account = name_key(name)
        wait = self._throttle.charge(account, source, now=now)
        if wait:
            raise LoginRefused(wait)
        found = self.users.credentials(name)
        user, kept = found if found and found[0].enabled else (None, None)
        if not verify_password(kept, password) or user is None or kept is None:
            self._audit.record("nobody", "login.refused", "", {"name": name[:200], "source": source}, now=now)
            raise LoginRefused()
        self._throttle.refund(account, source)
        if needs_rehash(kept):
            self.users.refresh_hash(user.id, kept, password)
        if old_session is not None:
            self.sessions.close(old_session)
        token = self.sessions.open(user.id, source=source, now=now)
        self._audit.record(f"{user.id} {user.name}", "login", user.id, {"source": source}, now=now)
        return token

    def logout(self, token: Secret, *, now: int) -> None:
        """End a session; the token is worthless from here on."""
        session = self.sessions.find(token, now=now)
        self.sessions.close(token)
        if session is not None:
            self._audit.record(session.user, "logout", session.user, now=now)

    def by_session(self, token: Secret, *, now: int, used: bool = True) -> tuple[Principal, Session] | None:
        """Who holds the living session of that token; it is not `used` by what a page asks of its own accord."""
        session = self.sessions.find(token, now=now, used=used)
        user = self.users.get(session.user) if session else None
        if session is None or user is None or not user.enabled:
            return None
        return self._principal(user, "session", session.id, now), session

    def by_api_token(self, token: Secret, *, now: int) -> Principal | None:
        """Who holds that API token: its owner's scope, and of the owner's permissions those the token names."""
        if not token.reveal().startswith(PREFIX):
            return None
        found = self.tokens.by_token(token, now=now)
        user = self.users.get(found.user) if found else None
        if found is None or user is None or not user.enabled:
            return None
        principal = self._principal(user, "token", found.id, now)
        return replace(principal, permissions=principal.permissions & found.scopes)

    def change_password(self, token: Secret, old: Secret, new: Secret, *, source: str, now: int) -> Secret:
        """Change one's own password: the session goes on under the token returned, all others end.

        Raises LoginRefused if the session is gone or `old` is wrong (throttled like a login), InputRefused for `new`.
        """
        session = self.sessions.find(token, now=now)
        user = self.users.get(session.user) if session else None
        if session is None or user is None:
            raise LoginRefused()
        account = name_key(user.name)
        wait = self._throttle.charge(account, source, now=now)
        if wait:
            raise LoginRefused(wait)
        found = self.users.credentials(user.name)
        if not verify_password(found[1] if found else None, old):
            raise LoginRefused()
        self._throttle.refund(account, source)
        self.users.set_password(user.id, new, actor=f"{user.id} {user.name}", now=now, keep_session=session.id)
        fresh = self.sessions.rotate(token, now=now)
        if fresh is None:
            raise LoginRefused()
        return fresh

    def _principal(self, user: User, via: str, credential: str, now: int) -> Principal:
        scope = scope_of(user, self._agencies.tree(now))
        return Principal(user.id, user.name, user.roles, permissions_of(user.roles), scope, via, credential)
