"""The deterministic event loop that a run's code lives on."""
