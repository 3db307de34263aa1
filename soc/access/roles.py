"""Roles as data: what each may do. A route or command names one permission, never a role."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

__all__ = ["ROLES", "Permission", "Role", "permissions_of"]


class Permission(StrEnum):
    """One thing somebody may do."""

    EVENTS_READ = "events.read"
    ALERTS_READ = "alerts.read"
    ALERTS_WRITE = "alerts.write"
    RULES_READ = "rules.read"
    RULES_WRITE = "rules.write"
    SOURCES_READ = "sources.read"
    SOURCES_WRITE = "sources.write"
    IMPORTS_READ = "imports.read"
    IMPORTS_WRITE = "imports.write"
    DEADLETTERS_READ = "deadletters.read"
    DEADLETTERS_WRITE = "deadletters.write"
    AGENCIES_READ = "agencies.read"
    AGENCIES_WRITE = "agencies.write"
    HEALTH_READ = "health.read"
    USERS_READ = "users.read"
    USERS_WRITE = "users.write"
    AUDIT_READ = "audit.read"
    STORE_WRITE = "store.write"
    ACCOUNT_OWN = "account.own"


class Role(StrEnum):
    """What a person is to the centre."""

    ADMINISTRATOR = "administrator"
    ANALYST = "analyst"
    VIEWER = "viewer"


_VIEWER = frozenset({
    Permission.EVENTS_READ, Permission.ALERTS_READ, Permission.RULES_READ, Permission.SOURCES_READ,
    Permission.AGENCIES_READ, Permission.ACCOUNT_OWN,
})
_ANALYST = _VIEWER | {
    Permission.ALERTS_WRITE, Permission.IMPORTS_READ, Permission.DEADLETTERS_READ, Permission.HEALTH_READ,
}

ROLES: Mapping[Role, frozenset[Permission]] = MappingProxyType({
    Role.ADMINISTRATOR: frozenset(Permission),
    Role.ANALYST: _ANALYST,
    Role.VIEWER: _VIEWER,
})
"""Role -> what it may do. Administrators see every agency; the scope of the others is in `principal.py`."""


def permissions_of(roles: Iterable[Role]) -> frozenset[Permission]:
    """All that these roles together may do."""
    return frozenset().union(*(ROLES[role] for role in roles))
