"""Whether a file of the store is damaged: what its bytes say, not how a read of it ended.

A file is taken out of the store for good on this word, so a fault of the moment must never count: a process that has no
descriptor or memory left, or may not read, has not seen damage.
"""
from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from soc.errors import StoreError
from soc.store.cuts import read_ipc
from soc.store.segment import SegmentRow

__all__ = ["damage"]

_OF_THE_DISK = (errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ENODATA, errno.EISDIR, errno.ENOTDIR)


def damage(segment: SegmentRow, data: Path) -> str:
    """What is wrong with a file, "" if nothing is: its bytes are held against the manifest's hash.

    Raises StoreError if it cannot be told now.
    """
    path = data / segment.path
    try:
        with path.open("rb") as file:
            if segment.sha256:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                return "" if digest == segment.sha256 else "its bytes are not those that were written (SHA-256 differs)"
        if segment.kind == "cut":
            read_ipc(path)
        else:
            with pq.ParquetFile(path) as opened:
                for group in range(opened.num_row_groups):
                    opened.read_row_group(group)
    except FileNotFoundError:
        return "it is missing"
    except (MemoryError, OSError) as fault:
        if isinstance(fault, OSError) and (fault.errno is None or fault.errno in _OF_THE_DISK):
            return str(fault)[:300]
        raise StoreError(f"{segment.path} cannot be read now: {fault}", remedy="see `soc doctor`") from fault
    except pa.ArrowException as fault:
        return str(fault)[:300]
    return ""
