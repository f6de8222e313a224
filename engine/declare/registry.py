"""The workflows an engine runs, by name and version, and what each needs to be run."""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from durably.engine.declare.definitions import Step, Workflow
from durably.engine.declare.events import Event, TriggerIndex
from durably.engine.declare.fingerprint import fingerprint
from durably.engine.errors import DurablyError
from durably.engine.log.records import RunCreated
from durably.engine.retries.retry import RetryPolicy
from durably.engine.values.codec import Decode

__all__ = ["Registered", "Registry"]


class Registered:
    """A workflow as this engine runs it: the policy resolved, the code's fingerprint taken.

    A step with a trigger is an implicit workflow of its name that awaits it once (DESIGN section 3).
    """

    __slots__ = (
        "_default",
        "_inherited",
        "code",
        "definition",
        "fn",
        "name",
        "registry",
        "retry",
        "signature",
        "timeout",
        "triggers",
        "version",
    )

    def __init__(self, definition: Workflow[..., Any] | Step[..., Any], default: RetryPolicy) -> None:
        self.definition = definition
        self.name = definition.name
        self.version = definition.version
        self.triggers = definition.triggers
        self.fn = definition.fn
        self.signature = definition.signature
        self.timeout = definition.timeout if isinstance(definition, Workflow) else None
        """Seconds that a whole run may take; a step's limit is that of an attempt."""
        self.registry: Registry | None = None
        definition.signature.check()
        self.code = fingerprint(definition.fn)
        is_step = isinstance(definition, Step)
        # The implicit workflow around a step has nothing of its own to retry.
        self.retry = RetryPolicy.NEVER if is_step else definition.policy(default)
        self._default = default
        self._inherited = default if is_step else self.retry

    @property
    def decode_result(self) -> Decode:
        """From the JSON of a result to what the function is annotated to return."""
        return self.definition.decode_result

    def knows(self, name: str, version: int) -> bool:
        """Whether a workflow that the body calls is registered with the same engine."""
        return self.registry is not None and self.registry.get(name, version) is not None

    @property
    def newest(self) -> int:
        """The version that a new run of this workflow starts with."""
        newest = None if self.registry is None else self.registry.newest(self.name)
        return self.version if newest is None else newest.version

    def step_policy(self, step: Step[..., Any]) -> RetryPolicy:
        """The policy of a step that is called in this workflow."""
        return step.policy(self._default, self._inherited)

    def body(self, created: RunCreated, event: Event[Any] | None) -> Coroutine[Any, Any, Any]:
        """The body, called with a run's recorded input. Raises `InvalidInput` when that misses its annotations."""
        if event is not None:
            args, kwargs = self.signature.bind_event(event)
        else:
            args, kwargs = self.signature.decode(created.input)
        if isinstance(self.definition, Step):
            return self.definition(*args, **kwargs)
        coroutine: Coroutine[Any, Any, Any] = self.fn(*args, **kwargs)
        return coroutine


class Registry:
    """All registered workflows."""

    def __init__(self, definitions: Iterable[Workflow[..., Any] | Step[..., Any]], default: RetryPolicy) -> None:
        self._known: dict[tuple[str, int], Registered] = {}
        for definition in definitions:
            registered = Registered(definition, default)
            key = (registered.name, registered.version)
            other = self._known.get(key)
            if other is not None and other.definition is not definition:
                raise DurablyError(
                    f"two workflows are called {registered.name!r} in version {registered.version}: "
                    "rename one, or give the newer one a higher version="
                )
            registered.registry = self
            self._known[key] = registered
        self._triggers = TriggerIndex(self._known.values())

    def get(self, name: str, version: int) -> Registered | None:
        """The workflow that a run was started with."""
        return self._known.get((name, version))

    def newest(self, name: str) -> Registered | None:
        """The workflow that a new run of that name starts with: the highest version."""
        versions = [version for known, version in self._known if known == name]
        return self._known[name, max(versions)] if versions else None

    def matching(self, name: str, event: Callable[[], Mapping[str, Any]]) -> list[Registered]:
        """The workflows that an event starts. `event` gives it as decoded from JSON, if a condition asks."""
        return self._triggers.matching(name, event)

    def all(self) -> list[Registered]:
        """Every workflow in every version, by name and version."""
        return [self._known[key] for key in sorted(self._known)]
