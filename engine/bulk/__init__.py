"""One thing done to many runs: cancel them, or run them again."""
