"""A run's log: its records, its grammar, and what it adds up to."""
