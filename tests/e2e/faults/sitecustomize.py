"""Faults for a real detector process: with this folder on PYTHONPATH, rules hang, throw or crash it at marked events.

`SOC_TEST_FAULTS` names a folder: a file there called `hang`, `throw` or `crash` holds the ids of rules that do so, a line
each, at events whose message contains SOC_TEST_MARK ("MARK").
"""
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

MARK = os.environ.get("SOC_TEST_MARK", "MARK")

if os.environ.get("SOC_TEST_FAULTS") and any(one.startswith("detector") for one in sys.orig_argv) and "soc.app" in sys.orig_argv:
    import soc.detect.engine as engine

    folder = Path(os.environ["SOC_TEST_FAULTS"])

    class Faulty(engine.Engine):
        def __init__(self, rules: Any, **options: Any) -> None:
            held = list(rules)
            self.ids = {rule.rule_id for rule in held}
            super().__init__(held, **options)

        def match(self, batch: Any) -> Any:
            for path in folder.iterdir():
                guilty = self.ids & set(path.read_text().split())
                if guilty and any(MARK in (text or "") for text in batch.column("message").to_pylist()):
                    if path.name == "hang":
                        while True:
                            pass
                    if path.name == "crash":
                        os.abort()
                    raise RuntimeError(f"{guilty} at {MARK}")
            return super().match(batch)

    engine.Engine = Faulty  # type: ignore[misc]
