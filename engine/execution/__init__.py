"""The part with effects: what drives runs, starts attempts, commits groups, and goes on after a crash."""
