"""One file per revision; each package starts its own branch with `down_revision = None`."""
