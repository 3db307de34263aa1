"""Runs a migration tree on an open connection, so that a schema changes wholly or not at all."""
from __future__ import annotations

import logging

from alembic import command, context
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from soc.database import ACCESS, MIGRATIONS, STATE
from soc.errors import StoreError

__all__ = ["config_of", "run", "upgrade", "version_table"]


def upgrade(connection: Connection, tree: str) -> None:
    """Bring `tree` to all its heads within the connection's transaction.

    Raises StoreError when the database holds revisions that this version does not know.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = config_of(tree)
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "heads")
    except CommandError as error:
        if "Can't locate revision" not in str(error):
            raise
        raise StoreError(
            f"the {tree} database was written by a newer version ({error})", remedy="start that version, or restore a backup",
        ) from error


def config_of(tree: str) -> Config:
    """Alembic's configuration for a tree, without a file."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS / tree).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def version_table(tree: str) -> str:
    """The table that names the revisions a database has; one per tree, so both may share a database."""
    return f"alembic_version_{tree}"


def run(tree: str) -> None:
    """The body of a tree's `env.py`."""
    context.configure(
        connection=context.config.attributes["connection"], target_metadata={"state": STATE, "access": ACCESS}[tree],
        version_table=version_table(tree), transactional_ddl=True, render_as_batch=True,
    )
    context.run_migrations()
