"""A run's code: alive on its loop, replayed from its log, judged when it ends."""
