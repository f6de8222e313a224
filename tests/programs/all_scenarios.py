"""Every program that is killed."""

from tests.programs import (
    anyio_programs,
    changed_programs,
    example_scenarios,
    family_programs,
    fanning_programs,
    money_programs,
    patient_programs,
)

__all__ = ["SCENARIOS"]

SCENARIOS = [
    *example_scenarios.SCENARIOS,
    *money_programs.SCENARIOS,
    *patient_programs.SCENARIOS,
    *family_programs.SCENARIOS,
    *fanning_programs.SCENARIOS,
    *anyio_programs.SCENARIOS,
    changed_programs.BEFORE,
    changed_programs.AFTER,
]
