"""`durably.testing`: an engine in memory, on a clock that tests move, with steps that answer as tests say."""
