"""The store in dictionaries: for tests, and for whatever need not outlive its process."""

from durably.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
