"""Runs a migration tree on an open connection, so that a schema changes wholly or not at all."""
from __future__ import annotations

import logging
from pathlib import Path

from alembic import command, context
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, MetaData

from soc.errors import StoreError

__all__ = ["run", "upgrade", "version_table"]


def upgrade(connection: Connection, metadata: MetaData) -> None:
    """Bring the tree of `metadata` to all its heads within the connection's transaction.

    Raises StoreError when the database holds revisions that this version does not know.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    tree = metadata.info["tree"]
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name(tree)).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    try:
        command.upgrade(config, "heads")
    except CommandError as error:
        if "Can't locate revision" not in str(error):
            raise
        raise StoreError(
            f"the {tree} database was written by a newer version ({error})", remedy="start that version, or restore a backup",
        ) from error


def version_table(tree: str) -> str:
    """The table that names the revisions a database has; one per tree, so both may share a database."""
    return f"alembic_version_{tree}"


def run() -> None:
    """The body of a tree's `env.py`."""
    given = context.config.attributes
    metadata: MetaData = given["metadata"]
    context.configure(
        connection=given["connection"], target_metadata=metadata, version_table=version_table(metadata.info["tree"]),
        transactional_ddl=True, render_as_batch=True,
    )
    context.run_migrations()
