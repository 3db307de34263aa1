"""A disk that can lose power: a real folder whose unsynced writes and directory entries a `power_cut` may drop or tear.

The model behind fault F7. Every operation is done for real and remembered until a sync makes it durable; a power cut
lays out, in a new folder, one of the states that the disk could be found in afterwards.
"""
from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from soc.errors import DiskFullError, StoreError
from soc.store.disk import RealDisk, Writer

__all__ = ["ModelDisk"]

_PAGE = 4096


@dataclass(slots=True)
class _Inode:
    durable: bytearray = field(default_factory=bytearray)
    current: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)

    def survivor(self, chance: random.Random) -> bytes:
        """What the file may hold after a power cut: some dirty pages written, some not, some torn; any length between."""
        keep = bytearray(self.durable)
        pages = sorted(self.dirty)
        for page in pages:
            roll = chance.random()
            if roll < 0.4:
                continue
            start, end = page * _PAGE, min((page + 1) * _PAGE, len(self.current))
            if roll > 0.8 and end > start:
                end = start + chance.randrange(end - start)
            if end > len(keep):
                keep.extend(b"\0" * (end - len(keep)))
            keep[start:end] = self.current[start:end]
        if len(self.current) < len(keep) and chance.random() < 0.5:
            del keep[len(self.current) :]
        return bytes(keep)


class ModelDisk(RealDisk):
    """A `Disk` over `root`. `fail_sync` and `full_after` (bytes) inject F9 and F8."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fail_sync = False
        self.full_after: int | None = None
        self.written = 0
        self._entries: dict[Path, _Inode] = {}
        self._durable_entries: dict[Path, _Inode] = {}
        self._steps: dict[Path, list[tuple[str, Path, Path | None, _Inode | None]]] = {}
        for path in sorted(root.rglob("*")) if root.exists() else []:
            if path.is_file():
                content = path.read_bytes()
                self._entries[path] = self._durable_entries[path] = _Inode(bytearray(content), bytearray(content))

    # ---- what differs from a real disk

    def create(self, path: Path) -> Writer:
        """A new file whose entry is durable only once its directory is synced."""
        writer = super().create(path)
        inode = _Inode()
        self._entries[path] = inode
        self._log(path.parent, ("add", path, None, inode))
        return _ModelWriter(self, writer, inode)

    def append(self, path: Path) -> Writer:
        """An existing file; what it held when this disk was made counts as durable."""
        return _ModelWriter(self, super().append(path), self._entries[path])

    def rename(self, source: Path, target: Path) -> None:
        """Atomic, and durable only once the target's directory is synced."""
        super().rename(source, target)
        for path in [p for p in self._entries if p == source or source in p.parents]:
            inode = self._entries.pop(path)
            self._entries[target / path.relative_to(source) if path != source else target] = inode
        self._log(target.parent, ("move", source, target, None))

    def unlink(self, path: Path) -> None:
        """Durable only once the directory is synced."""
        super().unlink(path)
        if self._entries.pop(path, None) is not None:
            self._log(path.parent, ("drop", path, None, None))

    def rmtree(self, path: Path) -> None:
        """Durable only once the parent directory is synced."""
        super().rmtree(path)
        for inside in [p for p in self._entries if path in p.parents]:
            del self._entries[inside]
        self._log(path.parent, ("drop", path, None, None))

    def sync_dir(self, path: Path) -> None:
        """Makes the entries of `path` durable."""
        if self.fail_sync:
            raise StoreError("the sync failed (injected)")
        super().sync_dir(path)
        for step in self._steps.pop(path, []):
            self._apply(self._durable_entries, step)

    # ---- the power cut

    def power_cut(self, into: Path, chance: random.Random) -> None:
        """Lay out in `into` one state that the disk may be in after losing power now."""
        entries = dict(self._durable_entries)
        for steps in self._steps.values():
            for step in steps[: chance.randint(0, len(steps))]:
                self._apply(entries, step)
        for path, inode in entries.items():
            target = into / path.relative_to(self.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(inode.survivor(chance))

    def _log(self, folder: Path, step: tuple[str, Path, Path | None, _Inode | None]) -> None:
        self._steps.setdefault(folder, []).append(step)

    @staticmethod
    def _apply(entries: dict[Path, _Inode], step: tuple[str, Path, Path | None, _Inode | None]) -> None:
        kind, path, target, inode = step
        if kind == "add" and inode is not None:
            entries[path] = inode
        elif kind == "drop":
            for inside in [p for p in entries if p == path or path in p.parents]:
                del entries[inside]
        elif kind == "move" and target is not None:
            for old in [p for p in entries if p == target or target in p.parents]:
                del entries[old]
            for old in [p for p in entries if p == path or path in p.parents]:
                entries[target / old.relative_to(path) if old != path else target] = entries.pop(old)


class _ModelWriter:
    """A real writer that remembers which pages are not synced."""

    def __init__(self, disk: ModelDisk, real: Writer, inode: _Inode) -> None:
        self._disk, self._real, self._inode = disk, real, inode

    def write(self, data: bytes) -> int:
        """Append; DiskFullError when the injected quota is used up."""
        if self._disk.full_after is not None and self._disk.written + len(data) > self._disk.full_after:
            raise DiskFullError("the disk is full (injected)")
        self._disk.written += len(data)
        start = len(self._inode.current)
        self._inode.current += data
        self._inode.dirty.update(range(start // _PAGE, (len(self._inode.current) + _PAGE - 1) // _PAGE))
        return self._real.write(data)

    def size(self) -> int:
        """Bytes in the file."""
        return self._real.size()

    def sync(self) -> None:
        """Make the file's content durable (not its name)."""
        if self._disk.fail_sync:
            raise StoreError("the sync failed (injected)")
        self._real.sync()
        self._inode.durable = bytearray(self._inode.current)
        self._inode.dirty.clear()

    def truncate(self, size: int) -> None:
        """Cut the file; durable with the next sync."""
        self._real.truncate(size)
        del self._inode.current[size:]
        self._inode.dirty = {p for p in self._inode.dirty if p * _PAGE < size} | ({size // _PAGE} if size % _PAGE else set())

    def close(self) -> None:
        """Close the real file."""
        self._real.close()
