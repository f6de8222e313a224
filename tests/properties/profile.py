"""How many programs are tried: a number that a developer waits for, or what `DURABLY_EXAMPLES` says."""

import os

import pytest
from hypothesis import HealthCheck, settings

__all__ = ["HALF", "PATIENT", "PROFILE"]

DEFAULT = 200
EXAMPLES = int(os.environ.get("DURABLY_EXAMPLES", DEFAULT))
PATIENT = pytest.mark.timeout(max(120, EXAMPLES))
"""A time limit that grows with the number."""

PROFILE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == DEFAULT,  # the same programs everywhere; others only where more are asked for
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

HALF = settings(PROFILE, max_examples=EXAMPLES // 2)
"""For the properties that take longest: each program is run once for each of its commits."""
