"""What the console works with, handed in by the composition root; nothing in here is made by the console itself."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from alerts.store import AlertStore
from soc.access.agencies import AgencyStore
from soc.access.audit import Audit
from soc.access.authentication import Authentication
from soc.access.setup import Setup
from soc.access.sources import SourceStore
from soc.config import CentreConfig
from soc.console.rulepacks import RulePacks
from soc.console.uploads import Uploads
from soc.demo.centre import Demonstration
from soc.detect.rulestore import RuleStore
from soc.ingest.imports import ImportStore
from soc.ingest.reach import Reach
from soc.store.deadletters import DeadLetters
from soc.store.eventstore import EventStore
from soc.store.manifest import ImportSeen

__all__ = ["TRIAL", "Given", "Parts"]

TRIAL = "try-it"
"""The source of the line to try; nobody expects it to go on sending."""

_DEFAULTS = CentreConfig()


@dataclass(frozen=True, slots=True)
class Parts:
    """`health` answers as `soc.health.Health.report`; `replay` has these dead letters read again and returns how many were
    taken (raises StoreError if nobody can); `now` is microseconds since 1970 UTC. `secure`: the console is reached by TLS.
    `reach` says how senders reach the centre, under a host name or "" (raises InputRefused); `gateway` is its last heartbeat.
    """

    events: EventStore
    alerts: AlertStore
    rules: RuleStore
    packs: RulePacks
    sources: SourceStore
    imports: ImportStore
    uploads: Uploads
    seen: Callable[[str], ImportSeen | None]
    demonstration: Demonstration
    letters: DeadLetters
    agencies: AgencyStore
    doors: Authentication
    setup: Setup
    audit: Audit
    health: Callable[[], Mapping[str, Any]]
    replay: Callable[[Sequence[int]], int]
    reach: Callable[[str], Reach]
    gateway: Callable[[], Mapping[str, Any]]
    now: Callable[[], int]
    name: str = "SOC"
    language: str = "vi"
    timezone: str = "Asia/Ho_Chi_Minh"
    secure: bool = False

    def called(self) -> str:
        """The centre's name: as configured, else as chosen at set-up."""
        return self.name if self.name != _DEFAULTS.name else self.setup.chosen().name or self.name

    def speaks(self) -> str:
        """The language of who has not chosen one: as configured, else as chosen at set-up."""
        return self.language if self.language != _DEFAULTS.language else self.setup.chosen().language or self.language


def _parts(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)


Given = Annotated[Parts, Depends(_parts)]
"""A route's access to the parts."""
