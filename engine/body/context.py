"""What code can learn of the run and the attempt it is part of: `durably.current()`."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from msgspec import Raw

from durably.engine.declare.events import Event
from durably.engine.errors import StepError

if TYPE_CHECKING:
    from durably.engine.body.instance import Instance
    from durably.engine.execution.attempt import Attempt, Publish
    from durably.engine.log.records import RunCreated

__all__ = ["BodyContext", "Context", "LogLine", "StepContext", "current", "enter", "running_step"]

T = TypeVar("T")
_LOGGER = logging.getLogger("durably.run")


class Context(ABC):
    """Where the calling code is: in which run, which step, which attempt.

    The same names in workflow bodies and in step bodies. In a body, `attempt` counts the body's own retries and goes
    back to 0 when a step completes; in a step it counts that step's attempts. Both are zero-based (seed 2).
    """

    __slots__ = ()

    @property
    @abstractmethod
    def run_id(self) -> str:
        """The run's public id."""

    @property
    @abstractmethod
    def workflow(self) -> str:
        """The workflow's name."""

    @property
    @abstractmethod
    def step(self) -> str | None:
        """The step's name; None in a workflow body."""

    @property
    @abstractmethod
    def attempt(self) -> int:
        """The attempt this is, zero-based."""

    @property
    @abstractmethod
    def max_attempts(self) -> int:
        """The first attempt and all retries that the policy allows."""

    @property
    def is_final_attempt(self) -> bool:
        """Whether an error now is final."""
        return self.attempt + 1 >= self.max_attempts

    @property
    @abstractmethod
    def last_error(self) -> StepError | None:
        """What the attempt before raised."""

    @property
    @abstractmethod
    def idempotency_key(self) -> str:
        """The same for all attempts of a step: hand it to services that can drop duplicates."""

    @property
    @abstractmethod
    def event(self) -> Event[Any] | None:
        """The event that triggered the run."""

    @property
    @abstractmethod
    def scheduled_for(self) -> datetime | None:
        """The time, in UTC, that a schedule started the run for; it may have begun later. None for other runs."""

    @property
    @abstractmethod
    def test(self) -> bool:
        """Whether the run is in test mode: one attempt, and sleeps do not wait."""

    @property
    @abstractmethod
    def history_length(self) -> int:
        """How many records the run's history has so far."""

    @property
    @abstractmethod
    def logger(self) -> "logging.LoggerAdapter[logging.Logger]":
        """A logger whose lines carry the run's id; silent on replay."""

    @abstractmethod
    def resource(self, kind: type[T]) -> T:
        """What the engine's `lifespan` yielded under this type. `LookupError` when it yielded none."""


_current: ContextVar[Context] = ContextVar("durably.current")
enter = _current.set


def current() -> Context:
    """The run and attempt that the calling code is part of. `LookupError` outside of runs."""
    try:
        return _current.get()
    except LookupError:
        raise LookupError(
            "durably.current() was called where no run is active; call it in the body of a workflow or a step"
        ) from None


def running_step() -> "StepContext | None":
    """The attempt that the calling code is part of, if it is part of one."""
    context = _current.get(None)
    return context if isinstance(context, StepContext) else None


class LogLine(NamedTuple):
    """A line that a body logged, held back until what it tells of is durable."""

    level: int
    message: object
    args: tuple[object, ...]
    options: dict[str, Any]

    def emit(self) -> None:
        _LOGGER.log(self.level, self.message, *self.args, **self.options)


class _RunLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the run to each line, beside what the caller passes as `extra`."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class _BodyLogger(_RunLogger):
    """Holds lines back until the activation they belong to is committed; drops them on replay."""

    def __init__(self, instance: "Instance") -> None:
        super().__init__(_LOGGER, {"run_id": instance.beginning.run_id, "workflow": instance.runnable.name})
        self._instance = instance

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if not self._instance.replaying and self.isEnabledFor(level):
            message, options = self.process(msg, kwargs)
            self._instance.lines = [*self._instance.lines, LogLine(level, message, args, dict(options))]


class BodyContext(Context):
    """`current()` in a workflow body: everything in it is the same on every replay."""

    __slots__ = ("_instance", "_logger")

    def __init__(self, instance: "Instance") -> None:
        self._instance = instance
        self._logger: _BodyLogger | None = None

    @property
    def run_id(self) -> str:
        return self._instance.beginning.run_id

    @property
    def workflow(self) -> str:
        return self._instance.runnable.name

    @property
    def step(self) -> str | None:
        return None

    @property
    def attempt(self) -> int:
        return self._instance.body_attempt

    @property
    def max_attempts(self) -> int:
        return 1 if self.test else 1 + self._instance.runnable.retry.max_retries

    @property
    def last_error(self) -> StepError | None:
        return self._instance.last_error

    @property
    def idempotency_key(self) -> str:
        return self._instance.beginning.run_id

    @property
    def event(self) -> Event[Any] | None:
        return self._instance.beginning.event

    @property
    def scheduled_for(self) -> datetime | None:
        return self._instance.beginning.created.scheduled_for

    @property
    def test(self) -> bool:
        return self._instance.beginning.created.test

    @property
    def history_length(self) -> int:
        return self._instance.seq

    @property
    def logger(self) -> "logging.LoggerAdapter[logging.Logger]":
        if self._logger is None:
            self._logger = _BodyLogger(self._instance)
        return self._logger

    def resource(self, kind: type[T]) -> T:
        raise LookupError(
            f"a workflow body cannot use resources such as {kind.__qualname__}: "
            "they are not the same on every replay. Use them in a step."
        )


class StepContext(Context):
    """`current()` in a step's body: one attempt."""

    __slots__ = ("_attempt", "_publish", "_resources")

    def __init__(self, attempt: "Attempt", resources: Mapping[type[Any], Any], publish: "Publish") -> None:
        self._attempt = attempt
        self._resources = resources
        self._publish = publish

    async def publish(self, topic: str, data: Raw) -> None:
        """Tell those who follow the run, also when this attempt fails and the next one says it again."""
        await self._publish(self._attempt, topic, data)

    @property
    def run_id(self) -> str:
        return self._attempt.beginning.run_id

    @property
    def workflow(self) -> str:
        return self._attempt.beginning.created.workflow

    @property
    def step(self) -> str | None:
        return self._attempt.call.step.name

    @property
    def attempt(self) -> int:
        return self._attempt.number

    @property
    def max_attempts(self) -> int:
        return 1 if self.test else 1 + self._attempt.policy.max_retries

    @property
    def last_error(self) -> StepError | None:
        return self._attempt.last_error

    @property
    def idempotency_key(self) -> str:
        return f"{self.run_id}:{self._attempt.key}"

    @property
    def event(self) -> Event[Any] | None:
        return self._attempt.beginning.event

    @property
    def scheduled_for(self) -> datetime | None:
        return self._attempt.beginning.created.scheduled_for

    @property
    def created(self) -> "RunCreated":
        """What the run began with."""
        return self._attempt.beginning.created

    @property
    def test(self) -> bool:
        return self._attempt.beginning.created.test

    @property
    def history_length(self) -> int:
        return self._attempt.seq

    @property
    def logger(self) -> "logging.LoggerAdapter[logging.Logger]":
        extra = {"run_id": self.run_id, "workflow": self.workflow, "step": self.step, "attempt": self.attempt}
        return _RunLogger(_LOGGER, extra)

    def resource(self, kind: type[T]) -> T:
        for candidate in (self._resources.get(kind), *self._resources.values()):
            if isinstance(candidate, kind):
                return candidate
        raise LookupError(
            f"no resource of type {kind.__qualname__}: yield {{{kind.__qualname__}: …}} from the engine's lifespan"
        )
