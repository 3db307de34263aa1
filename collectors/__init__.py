"""Readers of logs where they lie: shared by the centre and by agents; they frame records and never map them."""
