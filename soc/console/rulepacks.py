"""Rule packs brought in from the pages: each by a process of its own, the command that people type, so that pages stay quick.

Its progress and its end are in the note of `soc.detect.packwork`; it ends when the console does.
"""
from __future__ import annotations

import logging
import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi.concurrency import run_in_threadpool

from alerts.outputs import iso
from soc.database import Database
from soc.detect.packlist import PackRow, packs
from soc.detect.packwork import read_work
from soc.detect.release import MAX_BYTES
from soc.errors import DiskFullError, DuplicateError, InputRefused, TooLargeError

__all__ = ["OWN_PACK", "PUBLIC_PACK", "RulePacks"]

_log = logging.getLogger(__name__)

OWN_PACK = "soc"
PUBLIC_PACK = "sigma"
_FETCH = ("fetch", "--name", PUBLIC_PACK)
_OWN = ("import", "--builtin")
_OURS = re.compile(r"^rulepack-[0-9a-f]{16}\.zip(?=:)")
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


class RulePacks:
    """The packs of one centre. `address` and `sha256` are of the public release, as configured."""

    def __init__(self, data: Path, config: Path | None, database: Database, *, address: str, sha256: str = "") -> None:
        self._data, self._config, self._database = data, config, database
        self._address, self._sha256 = address, sha256
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._broken = ""
        for left in (data / "tmp").glob("rulepack-*.zip"):  # of a console that was killed
            left.unlink(missing_ok=True)

    def state(self) -> dict[str, Any]:
        """The packs, the address of the public release, and in `work` what is being brought in or was last; {} if nothing was."""
        work = read_work(self._data / "run")
        begun = {"address": "", "release": {}} | work
        if self.busy() and work.get("state") != "working":  # it has not begun to tell
            work = {**begun, "state": "working", "stage": "starting", "what": "", "done": 0, "total": 0, "message": "", "remedy": "", "report": {}}
        elif self._broken and not self.busy() and work.get("state") != "failed":
            work = {**begun, "state": "failed", "message": self._broken, "remedy": "start it again; the log of the centre says more"}
        if work.get("message"):  # people dropped a file, and know nothing of ours
            work = {**work, "message": _OURS.sub(str(work.get("what") or "zip"), str(work["message"]))}
        return {
            "packs": [asdict(one) | {"imported": iso(one.imported)} for one in self.rows()],
            "work": work, "release": {"address": self._address, "sha256": self._sha256}}

    def rows(self) -> Sequence[PackRow]:
        """The packs that have rules."""
        return packs(self._database)

    def busy(self) -> bool:
        """Whether a pack is being brought in from here."""
        return self._thread is not None and self._thread.is_alive()

    def fetch(self) -> None:
        """Fetch the public release and take it in, in the background. Raises DuplicateError while another pack is at work."""
        self._begin([_FETCH])

    def first(self, *, public: bool) -> None:
        """Our own rules, and the public ones if they are wanted: what a new centre begins with."""
        known = {one.name for one in self.rows()}
        self._begin([*([_OWN] if OWN_PACK not in known else []), *([_FETCH] if public else [])])

    async def take(self, body: AsyncIterator[bytes], name: str) -> None:
        """Take in the zip that `body` streams, as pack `name`, in the background. Nothing larger than MAX_BYTES is kept.

        Raises InputRefused (TooLargeError) for what is no zip, DuplicateError while another pack is at work, DiskFullError.
        """
        self._refuse_while_busy()
        place = self._data / "tmp" / f"rulepack-{secrets.token_hex(8)}.zip"
        place.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            await _keep(body, place)
            self._begin([("import", str(place), "--name", name)], place)
        except BaseException:
            place.unlink(missing_ok=True)
            raise

    def _refuse_while_busy(self) -> None:
        if self.busy() or read_work(self._data / "run").get("state") == "working":
            raise DuplicateError("another rule pack is being brought in", remedy="wait until it is done")

    def _begin(self, steps: Sequence[Sequence[str]], place: Path | None = None) -> None:
        with self._lock:
            self._refuse_while_busy()
            self._broken = ""
            self._thread = threading.Thread(target=self._work, args=(steps, place), name="rulepacks", daemon=True)
            self._thread.start()

    def _work(self, steps: Sequence[Sequence[str]], place: Path | None) -> None:
        where = ["--data", str(self._data), *(["--config", str(self._config)] if self._config else [])]
        try:
            for step in steps:
                with subprocess.Popen([sys.executable, "-m", "soc.cli", *where, "rules", *step, "--noted"], stdin=subprocess.PIPE,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, close_fds=True) as process:
                    assert process.stderr is not None
                    said = process.stderr.read().decode("utf-8", "replace")
                    code = process.wait()
                if code:
                    _log.warning("a rule pack was not brought in", extra={"exit": code, "said": said[-1000:]})
                    self._broken = f"the process that brought the pack in ended with {code}"
                    return
        except OSError as fault:  # no memory, no descriptors: said on the page
            self._broken = f"the process that brings packs in cannot be started: {fault}"
        finally:
            if place is not None:
                place.unlink(missing_ok=True)


async def _keep(body: AsyncIterator[bytes], place: Path) -> None:
    size = 0
    try:
        with open(place, "wb", opener=_private) as file:
            async for chunk in body:
                if not chunk:
                    continue
                if size == 0 and not chunk.startswith(_ZIP):
                    raise InputRefused("this is no zip of rules", remedy="drop the zip of the release as it was fetched")
                size += len(chunk)
                if size > MAX_BYTES:
                    raise TooLargeError("this is larger than any pack of rules", remedy="`soc rules import` takes a folder, too")
                await run_in_threadpool(file.write, chunk)
    except OSError as fault:
        raise DiskFullError(f"the pack cannot be kept: {fault.strerror}", remedy="make room on the disk of the data folder") from None
    if not size:
        raise InputRefused("nothing came", remedy="drop the zip of the release as it was fetched")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
