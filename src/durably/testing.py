"""An engine for tests: in memory, on a virtual clock, with steps that answer as the test says."""

from durably.engine.testing import StepCalled, StepMock, TestClock, TestEngine

__all__ = ["StepCalled", "StepMock", "TestClock", "TestEngine"]
