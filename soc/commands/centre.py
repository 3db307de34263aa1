"""What a command works on: the data folder with its configuration, databases and store, opened when first asked for."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from soc.config import Config
from soc.folder import DataFolder

if TYPE_CHECKING:
    from soc.database import Database
    from soc.secret import Secret
    from soc.store.embedded import EmbeddedStore
    from soc.store.manifest import Manifest

__all__ = ["Centre", "Options", "open_centre"]


@dataclass(frozen=True, slots=True)
class Options:
    """The global options of one call, as given."""

    data: Path
    config: Path | None
    verbose: bool


class Centre:
    """One data folder as commands see it; works beside a running server and without one."""

    def __init__(self, folder: DataFolder, config: Config) -> None:
        self.folder = folder
        self.config = config

    @property
    def data(self) -> Path:
        """Where the data folder is."""
        return self.folder.path

    @property
    def running(self) -> bool:
        """Whether a server holds the data folder right now."""
        return self.folder.holder() is not None

    @cached_property
    def reached(self) -> Config:
        """The configuration with the addresses of the server that runs on the folder, if one does (it may have been given others)."""
        from soc.addresses import as_running

        return as_running(self.config, self.data)

    @cached_property
    def actor(self) -> str:
        """Who this is, for the audit: the local user."""
        from soc.access.audit import local_actor

        return local_actor()

    @cached_property
    def state(self) -> Database:
        """Alerts, rules, ledger, imports and sources; migrated."""
        from soc.database import STATE, Database

        return self._migrated(Database.open(self._url(self.config.database.state, "state.db"), STATE))

    @cached_property
    def access(self) -> Database:
        """Agencies, users, sessions, tokens and audit; migrated."""
        from soc.database import ACCESS, Database

        return self._migrated(Database.open(self._url(self.config.database.access, "access.db"), ACCESS))

    @cached_property
    def manifest(self) -> Manifest:
        """Which files are the event store."""
        from soc.store.manifest import Manifest

        return Manifest.open(self.data)

    @cached_property
    def store(self) -> EmbeddedStore:
        """The event store, for searches."""
        from soc.store.embedded import EmbeddedStore

        limits = self.config.store
        return EmbeddedStore(self.data, self.manifest, memory_limit=f"{limits.memory_limit}B", threads=limits.threads,
                             timeout=limits.query_timeout)

    def close(self) -> None:
        """Close whatever was opened."""
        for name in ("store", "manifest", "state", "access"):
            opened = self.__dict__.pop(name, None)
            if opened is not None and hasattr(opened, "close"):
                opened.close()

    def _url(self, configured: Secret, name: str) -> str:
        from soc.database import sqlite_url

        return configured.reveal() or sqlite_url(self.data / name)

    @staticmethod
    def _migrated(database: Database) -> Database:
        database.migrate()
        return database


def open_centre(ctx: typer.Context, *, create: bool = True) -> Centre:
    """The centre of this call's --data and --config; closed when the command ends.

    The configuration is read before anything is touched. A missing data folder is made (and said so), or with
    create=False refused. Raises ConfigError and StoreError.
    """
    from soc.commands.output import say

    options: Options = ctx.find_root().obj
    config = Config.load(options.config)
    new = create and not (options.data / "centre.json").exists()
    centre = Centre(DataFolder.open(options.data, create=create), config)
    if new:
        say(f"Made the data folder {options.data}.")
    ctx.call_on_close(centre.close)
    return centre
