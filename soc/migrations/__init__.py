"""Schema migrations: one tree per database, one first revision per package, run to all heads."""
