"""The access database's migrations."""
