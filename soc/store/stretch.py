"""The events of a stretch of positions, from whatever files hold them now: cuts, or the segments they were compacted into."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from soc.store.cuts import read_ipc
from soc.store.segment import SegmentRow

__all__ = ["ROWS", "read_stretch"]

ROWS = 16_384
"""Most rows of one batch."""

_SEQUENCE = "soc.seq"


def read_stretch(data: Path, segment: SegmentRow, first: int, last: int) -> Iterator[pa.RecordBatch]:
    """The rows of a file whose positions lie in [first, last), in batches of at most `ROWS`.

    Raises pyarrow.ArrowException or OSError if it is damaged or gone.
    """
    path = data / segment.path
    if segment.kind == "cut":
        yield from _within(read_ipc(path), segment, first, last)
        return
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        column = file.schema_arrow.get_field_index(_SEQUENCE)
        for group in range(file.num_row_groups):
            span = file.metadata.row_group(group).column(_leaf(file, column)).statistics
            if span is None or not span.has_min_max or (span.min < last and span.max >= first):
                yield from _within(file.read_row_group(group), segment, first, last)


def _within(table: pa.Table, segment: SegmentRow, first: int, last: int) -> Iterator[pa.RecordBatch]:
    if not first <= segment.first <= segment.last <= last:
        sequence = table.column(_SEQUENCE)
        table = table.filter(pc.and_(pc.greater_equal(sequence, first), pc.less(sequence, last)))
    for batch in table.to_batches(max_chunksize=ROWS):
        if batch.num_rows:
            yield batch


def _leaf(file: pq.ParquetFile, field: int) -> int:
    """Where a plain column stands among the file's leaves: nested ones before it have several."""
    name = file.schema_arrow.names[field]
    return next(at for at in range(len(file.schema)) if file.schema.column(at).path == name)
