"""Who is asking: the person or program behind a request, what it may do and what it may see."""
from __future__ import annotations

from dataclasses import dataclass

from soc.access.roles import Permission, Role
from soc.errors import PermissionDenied
from soc.event import Scope

__all__ = ["Principal"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request. `via` is "session", "token" or "local"; `credential` the session's or token's id."""

    user_id: str
    name: str
    roles: tuple[Role, ...]
    permissions: frozenset[Permission]
    scope: Scope
    via: str = "session"
    credential: str = ""

    @property
    def actor(self) -> str:
        """How the audit names the caller."""
        if self.via == "local":
            return self.name
        return f"{self.user_id} {self.name}" + (f" via {self.credential}" if self.via == "token" else "")

    def may(self, permission: Permission) -> bool:
        """Whether the caller has the permission."""
        return permission in self.permissions

    def require(self, permission: Permission) -> None:
        """Raises PermissionDenied if the caller has not the permission."""
        if permission not in self.permissions:
            raise PermissionDenied(
                f"this needs the permission {permission.value}",
                remedy="ask an administrator for a role that has it; an API token needs it among its scopes")

    @classmethod
    def local(cls, actor: str) -> Principal:
        """Who works at the centre's own command line: the owner of its files, so everything is theirs."""
        return cls("", actor, (Role.ADMINISTRATOR,), frozenset(Permission), Scope.everything(), "local")
