"""How many programs are tried: a number that a developer waits for, or what `DURABLY_EXAMPLES` says."""

import os

from hypothesis import HealthCheck, settings

__all__ = ["HALF", "PROFILE"]

EXAMPLES = int(os.environ.get("DURABLY_EXAMPLES", "200"))

PROFILE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 200,  # the same programs everywhere; others only where more are asked for
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

HALF = settings(PROFILE, max_examples=EXAMPLES // 2)
"""For the properties that take longest: each program is run once for each of its commits."""
