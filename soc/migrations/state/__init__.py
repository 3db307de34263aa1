"""The state database's migrations."""
