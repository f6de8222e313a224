"""What is not deterministic in the code of workflows, found before a run does it (docs/determinism.md)."""
