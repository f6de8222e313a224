"""The commands of `durably`, one module for each or for a small family. `durably.api.cli` finds them."""
