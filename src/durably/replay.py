"""Replay histories with the code at hand: in tests, in CI, and to look into a run."""

from durably.engine.body.replayer import Replayer
from durably.engine.log.history import History, HistoryRecord

__all__ = ["History", "HistoryRecord", "Replayer"]
