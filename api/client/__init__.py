"""Clients: the engine's methods for processes that do not run it, over HTTP."""
