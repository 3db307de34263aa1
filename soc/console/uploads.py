"""Log files imported from the pages: each kept on disk as it comes, then brought in by the command that people type.

One after the other, each by a process of its own, so that pages stay quick; it ends when the console does. What had come in by
then is kept, as after Ctrl-C, and dropping the file again goes on with it.
"""
from __future__ import annotations

import json
import logging
import os
import queue
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fastapi.concurrency import run_in_threadpool

from soc.errors import DiskFullError, DuplicateError, InputRefused, NotFoundError, TooLargeError
from soc.event import Scope
from soc.store.disk import RealDisk

__all__ = ["Upload", "Uploads"]

_log = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[^\w .+()\[\]-]")
_LONGEST: Final = 120
_REMEMBERED: Final = 50
NOTE: Final = "note.json"
_CHECKED: Final = 16 << 20
"""Bytes after which the disk is looked at again while a file comes in."""


@dataclass(slots=True)
class Upload:
    """One file. `state` is waiting, working, done, failed or cancelled; `note` how far the command says it is."""

    id: str
    name: str
    size: int
    agency: str
    actor: str
    folder: Path
    state: str = "waiting"
    import_id: str = ""
    message: str = ""
    remedy: str = ""
    note: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def shown(self) -> dict[str, Any]:
        """As the API has it."""
        note = {key: self.note.get(key, 0) for key in ("records", "known", "share", "stored", "dead_letters", "errors")}
        return {"id": self.id, "name": self.name, "bytes": self.size, "agency": self.agency, "actor": self.actor, "state": self.state,
                "import_id": self.import_id, "message": self.message, "remedy": self.remedy, "stage": self.note.get("stage", ""), **note}


class Uploads:
    """The files of one centre. `most` bytes are taken of one; none is while the disk is used to more than `refuse`."""

    def __init__(self, data: Path, config: Path | None, *, most: int, refuse: float) -> None:
        self._data, self._config, self.most, self._refuse = data, config, most, refuse
        self._all: list[Upload] = []
        self._queue: queue.SimpleQueue[Upload] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._undoing: dict[str, threading.Thread] = {}
        for left in (data / "tmp").glob("upload-*"):  # of a console that was killed
            shutil.rmtree(left, ignore_errors=True)

    async def take(self, body: AsyncIterator[bytes], name: str, *, agency: str, actor: str) -> Upload:
        """Keep the file that `body` streams, and have it imported for `agency` as `actor`.

        Raises InputRefused (TooLargeError) and DiskFullError; then nothing of it is kept.
        """
        key = secrets.token_hex(8)
        folder = self._data / "tmp" / f"upload-{key}"
        folder.mkdir(mode=0o700, parents=True)
        plain = _plain(name)
        try:
            size = await self._keep(body, folder / plain)
        except BaseException:
            await run_in_threadpool(shutil.rmtree, folder, True)
            raise
        upload = Upload(key, plain, size, agency, actor, folder)
        with self._lock:
            self._all = [*self._all[-_REMEMBERED:], upload]
            self._queue.put(upload)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
                self._thread.start()
        return upload

    def list(self, scope: Scope) -> Sequence[Upload]:
        """Those since the console started, the newest first."""
        for one in self._all:
            _look(one)
        return [one for one in reversed(self._all) if scope.allows(one.agency)]

    def cancel(self, key: str, scope: Scope) -> Upload:
        """Stop one, as Ctrl-C stops the command: what was acknowledged is kept. Raises NotFoundError."""
        for one in self._all:
            if one.id == key and scope.allows(one.agency):
                with self._lock:
                    if one.state in ("waiting", "working"):
                        one.state = "cancelled"
                        if one.process is not None:
                            one.process.terminate()
                return one
        raise NotFoundError(f"there is no upload {key[:40]!r}", remedy="the page of imports lists them")

    def undo(self, import_id: str, actor: str) -> None:
        """Take an import back, in the background. Raises DuplicateError while that is under way."""
        with self._lock:
            before = self._undoing.get(import_id)
            if before is not None and before.is_alive():
                raise DuplicateError("this import is being taken back", remedy="wait until it is done")
            steps = ["import", "undo", import_id, "--yes", "--json", "--for", actor]
            self._undoing[import_id] = threading.Thread(target=self._command, args=(steps, None), name="undo", daemon=True)
            self._undoing[import_id].start()

    async def _keep(self, body: AsyncIterator[bytes], place: Path) -> int:
        size = checked = 0
        self._check_disk()
        try:
            with open(place, "xb", opener=_private) as file:
                async for chunk in body:
                    size += len(chunk)
                    if size > self.most:
                        raise TooLargeError(
                            f"the file is larger than {self.most >> 20:,} MiB", remedy="`soc import` on the centre takes files of any size")
                    if size - checked >= _CHECKED:
                        checked = size
                        self._check_disk()
                    await run_in_threadpool(file.write, chunk)
        except OSError as fault:
            raise DiskFullError(f"the file cannot be kept: {fault.strerror}", remedy="make room on the disk of the data folder") from None
        if not size:
            raise InputRefused("the file is empty", remedy="drop a file with records in it")
        return size

    def _check_disk(self) -> None:
        if RealDisk().used(self._data) >= self._refuse:
            raise DiskFullError("the disk is full: no file is taken", remedy="make room on the disk of the data folder")

    def _run(self) -> None:
        while True:
            upload = self._queue.get()
            try:
                if upload.state == "waiting":
                    self._import(upload)
            except Exception as fault:  # noqa: BLE001  the next file must not wait for ever
                _log.exception("an upload failed")
                upload.state, upload.message = "failed", f"{type(fault).__name__}: {fault}"
            finally:
                shutil.rmtree(upload.folder, ignore_errors=True)

    def _import(self, upload: Upload) -> None:
        steps = ["import", "files", upload.name, "--agency", upload.agency, "--json", "--for", upload.actor, "--note", NOTE]
        with self._lock:
            if upload.state != "waiting":
                return
            upload.state = "working"
        code, out, err = self._command(steps, upload)
        _look(upload)
        upload.process = None
        try:
            [facts] = json.loads(out)
        except ValueError:
            facts = {}
        upload.import_id = str(facts.get("id", "")) or upload.import_id
        if upload.state == "working":
            upload.state = "failed" if code else "done"
        upload.note |= {"records": facts.get("records", upload.note.get("records", 0)), "known": facts.get("duplicates", 0)}
        if upload.state == "failed":
            said = [line for line in err.splitlines() if line.strip()]
            upload.message = next((line[7:] for line in said if line.startswith("error: ")), f"the import ended with {code}")
            upload.remedy = next((line.strip()[2:] for line in said if line.strip().startswith("→ ")), "")

    def _command(self, steps: Sequence[str], upload: Upload | None) -> tuple[int, str, str]:
        """Run `soc` with these words: its exit code and what it printed."""
        env = {**os.environ, "NO_COLOR": "1", "COLUMNS": "1000", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        where = ["--data", str(self._data.absolute()), *(["--config", str(self._config.absolute())] if self._config else [])]
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "soc.cli", *where, *steps], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                cwd=upload.folder if upload else None, env=env)
        except OSError as fault:  # no memory, no descriptors: said on the page
            return 1, "", f"error: the process that imports cannot be started: {fault}"
        if upload is not None:
            with self._lock:
                upload.process = process
                if upload.state == "cancelled":
                    process.terminate()
        out, err = process.communicate()
        if process.returncode:
            _log.warning("a command of a page failed", extra={"exit": process.returncode, "said": err.decode("utf-8", "replace")[-1000:]})
        return process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def _look(upload: Upload) -> None:
    """See how far the command says it is."""
    try:
        found = json.loads((upload.folder / NOTE).read_bytes())
    except (OSError, ValueError):
        return
    if isinstance(found, dict):
        upload.note = found
        upload.import_id = str(found.get("id") or upload.import_id)


def _plain(name: str) -> str:
    """The name of a file that a browser gave, without a path and without what a file system or a terminal minds."""
    last = _NAME.sub("_", re.split(r"[/\\]", name)[-1]).strip(" .-")
    stem, dot, kind = last.rpartition(".")
    return (stem[:_LONGEST] + dot + kind[:20] if dot else last[:_LONGEST]) or "file.log"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
