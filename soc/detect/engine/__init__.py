"""Rules × events -> hits. `Engine` is the way in; `reference` says slowly what it must answer."""
from __future__ import annotations

from soc.detect.compiled import AtomSpec, CompiledRule, Detection, LogSource
from soc.detect.engine.engine import Engine, Hit

__all__ = ["AtomSpec", "CompiledRule", "Detection", "Engine", "Hit", "LogSource"]
