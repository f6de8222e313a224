"""Retry policies that people write down by name, for jobs, steps and workflows (the third seed)."""
