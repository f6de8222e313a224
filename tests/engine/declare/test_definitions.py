import asyncio
import contextvars
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextvars import Context
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from durably.engine.declare.definitions import Definition, Step, Workflow, step, workflow
from durably.engine.declare.events import Event, Trigger
from durably.engine.errors import DurablyError, NotBuilt
from durably.engine.loop.run_loop import RunLoop
from durably.engine.retries.retry import RetryPolicy


async def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


def add_in_thread(a: int, b: int = 1) -> tuple[int, int]:
    return a + b, threading.get_ident()


class Owner:
    """Of a run: notes the steps that are called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    async def call_step(self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.calls.append((step.name, args, kwargs))
        return "recorded"


def in_a_run(body: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, list[Any]]:
    """Run a body that waits for nothing as a run's code; what it returned, and the steps it called."""
    loop, owner = RunLoop(0, 0), Owner()
    loop.owner = owner
    loop.start(body(), Context())
    loop.drive()
    assert loop.ended
    return loop.outcome(), owner.calls


class TestDeclaring:
    @pytest.mark.parametrize("decorator", [step, workflow])
    def test_bare_and_with_arguments(self, decorator: Callable[..., Any]) -> None:
        for declared in (decorator(add), decorator()(add), decorator(version=1)(add)):
            assert (declared.name, declared.version, declared.fn) == ("add", 1, add)
        assert decorator("sum", version=3)(add).name == "sum"
        assert decorator("sum", version=3)(add).version == 3

    @pytest.mark.parametrize("decorator", [step, workflow])
    def test_it_looks_like_the_function(self, decorator: Callable[..., Any]) -> None:
        declared = decorator(add)
        assert (declared.__name__, declared.__doc__, declared.__module__) == ("add", "Add.", __name__)
        assert inspect.signature(declared) == inspect.signature(add)

    def test_defaults(self) -> None:
        declared = step(add)
        assert (declared.retries, declared.retry, declared.timeout, declared.key) == (None, None, None, None)
        assert (declared.on_lost, declared.triggers, declared.is_async) == ("retry", (), True)
        assert not step(add_in_thread).is_async

    def test_options(self) -> None:
        declared = step(retries=0, timeout=timedelta(minutes=1), on_lost="fail")(add)
        assert (declared.retries, declared.timeout, declared.on_lost) == (0, 60.0, "fail")
        assert workflow(retry=RetryPolicy.NEVER, timeout=1.5)(add).retry is RetryPolicy.NEVER

    @pytest.mark.parametrize(
        ("on", "names"),
        [
            ("a/b", ["a/b"]),
            (Trigger("a/*"), ["a/*"]),
            (["a/b", Trigger("a/*")], ["a/b", "a/*"]),
        ],
    )
    def test_triggers(self, on: Any, names: list[str]) -> None:
        @step(on=on)
        async def of_step(event: Event) -> None: ...

        @workflow(on=on)
        async def of_workflow(event: Event) -> None: ...

        assert [trigger.name for trigger in of_step.triggers] == names
        assert [trigger.name for trigger in of_workflow.triggers] == names

    @pytest.mark.parametrize("decorator", [step, workflow])
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"retry": RetryPolicy.NEVER, "retries": 1}, TypeError, "both given"),
            ({"retry": 3}, TypeError, "or the id of a stored one; a number of retries is retries="),
            ({"retries": -1}, ValueError, "retries is -1"),
            ({"retries": True}, TypeError, "retries is True"),
            ({"timeout": -1}, ValueError, "timeout is -1"),
            ({"timeout": "1"}, TypeError, "timeout is '1'"),
            ({"version": 0}, ValueError, "version is 0"),
            ({"version": "2"}, ValueError, "version is '2'"),
            ({"on": ""}, ValueError, "event's name"),
            ({"on": "app*"}, ValueError, "only be the last character"),
            ({"on": "a"}, TypeError, "must take an event"),
            ({"unknown": 1}, TypeError, "unknown"),
        ],
    )
    def test_bad_options(
        self, decorator: Callable[..., Any], options: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            decorator(**options)(add)

    def test_bad_on_lost(self) -> None:
        with pytest.raises(ValueError, match="'retry' or 'fail'"):
            step(on_lost="ignore")(add)  # type: ignore[call-overload] # pyright: ignore - the mistake

    @pytest.mark.parametrize("decorator", [step, workflow])
    @pytest.mark.parametrize("name", ["", "x" * 256, "a#b", "/a", "2/a", "12/a", "a\nb", "a\x7f", "\ud800", "#"])
    def test_bad_names(self, decorator: Callable[..., Any], name: str) -> None:
        with pytest.raises(ValueError, match="must have 1 to 255 printable characters"):
            decorator(name)(add)

    @pytest.mark.parametrize("name", ["a", "x" * 255, "ünï codé", "a/b", "a.b", "2a/b", "2", "<lambda>"])
    def test_good_names(self, name: str) -> None:
        assert step(name)(add).name == name

    def test_what_cannot_be_declared(self) -> None:
        def generator() -> Iterator[int]:
            yield 1

        async def asynchronous() -> AsyncIterator[int]:
            yield 1

        cases: list[tuple[Callable[..., Any], Any, str]] = [
            (step, staticmethod(add), "put @staticmethod above @step"),
            (workflow, staticmethod(add), "put @staticmethod above @workflow"),
            (step, classmethod(lambda cls: cls), "put @classmethod above @step"),
            (step, partial(add, 1), "is for functions"),
            (step, print, "is for functions"),
            (step, 3, "is for functions"),
            (step, step(add), "is for functions"),
            (step, generator, "is a generator; it must return one value"),
            (step, asynchronous, "is a generator"),
            (workflow, asynchronous, "is a generator"),
            (workflow, add_in_thread, "no coroutine function: write `async def`, or use @step"),
        ]
        for decorator, function, message in cases:
            with pytest.raises(TypeError, match=message):
                decorator(function)

    def test_annotations_that_cannot_work(self) -> None:
        class Client: ...

        async def f(client: Client) -> None: ...

        step(f)
        with pytest.raises(TypeError, match=r"parameter 'client' of f\(\) is annotated"):
            workflow(f)


class TestNotBuilt:
    @pytest.mark.parametrize(
        ("decorator", "option", "value"),
        [
            (step, "concurrency", 1),
            *((workflow, option, 1) for option in ("concurrency", "throttle", "rate_limit", "debounce", "batch")),
            *((workflow, option, 1) for option in ("priority", "singleton", "idempotency", "cancel_on")),
        ],
    )
    def test_options(self, decorator: Callable[..., Any], option: str, value: object) -> None:
        with pytest.raises(NotBuilt, match=rf"{decorator.__name__}\({option}=…\) is part of Durably's contract"):
            decorator(**{option: value})
        decorator(**{option: None})(add)


class TestPolicy:
    """`run_step` over step over workflow over the engine's default (DESIGN section 5)."""

    def test_which_holds(self) -> None:
        default, other = RetryPolicy(7, backoff="fixed"), RetryPolicy(1)
        assert step(add).policy(default) is default
        assert step(retry=other)(add).policy(default) is other
        assert step(retries=2)(add).policy(default) == RetryPolicy(2, backoff="fixed")
        assert step(retry="stored")(add).policy(default) == "stored"

    def test_options_replace_what_was_declared(self) -> None:
        declared = step(retries=2)(add)
        assert declared.options(retry=RetryPolicy.NEVER).policy(RetryPolicy.DEFAULT) is RetryPolicy.NEVER
        declared = step(retry=RetryPolicy.NEVER)(add)
        assert declared.options(retries=3).policy(RetryPolicy.DEFAULT) == RetryPolicy(3)
        assert declared.options(timeout=1).policy(RetryPolicy.DEFAULT) is RetryPolicy.NEVER


class TestOptions:
    def test_a_step_is_copied(self) -> None:
        declared = step(timeout=5)(add)
        changed = declared.options(retries=1, key="k")
        assert (changed.retries, changed.timeout, changed.key, changed.name) == (1, 5.0, "k", "add")
        assert (declared.retries, declared.key) == (None, None)
        assert changed.signature is declared.signature

    @pytest.mark.parametrize("key", ["k", "/k", "/0/2/k", "a/b"])
    def test_good_keys(self, key: str) -> None:
        assert step(add).options(key=key).key == key

    @pytest.mark.parametrize("key", ["", "/", "/a#0", "a#0", "2/a", "x" * 256, "/" + "x" * 256, "/a\n"])
    def test_bad_keys(self, key: str) -> None:
        with pytest.raises(ValueError, match="key is"):
            step(add).options(key=key)

    def test_bad_options(self) -> None:
        with pytest.raises(TypeError, match="both given"):
            step(add).options(retries=1, retry=RetryPolicy.NEVER)

    def test_a_workflow_is_copied(self) -> None:
        declared = workflow(timeout=5)(add)
        changed = declared.options(run_id="r", test=True, environment="staging")
        assert (changed.run_id, changed.test, changed.environment, changed.timeout) == (
            "r",
            True,
            "staging",
            5.0,
        )
        assert (declared.run_id, declared.test) == (None, False)
        assert declared.options(timeout=timedelta(seconds=1)).timeout == 1.0


class Service:
    def __init__(self, base: int) -> None:
        self.base = base

    @step
    async def add(self, a: int) -> int:
        return self.base + a

    @step(retries=1)
    def add_in_thread(self, a: int) -> tuple[int, int]:
        return self.base + a, threading.get_ident()

    @staticmethod
    @step
    async def double(a: int) -> int:
        return 2 * a

    @classmethod
    @step
    async def name(cls) -> str:
        return cls.__name__


class TestCallingAStep:
    """Outside of runs it is just the body."""

    def test_async(self) -> None:
        assert asyncio.run(step(add)(1, b=2)) == 3

    def test_sync_in_a_worker_thread(self) -> None:
        value, thread = asyncio.run(step(add_in_thread)(1, b=2))
        assert value == 3
        assert thread != threading.get_ident()

    def test_context_variables_reach_the_thread(self) -> None:
        variable = contextvars.ContextVar("variable", default=0)

        @step
        def read() -> int:
            return variable.get()

        variable.set(5)
        assert asyncio.run(read()) == 5

    def test_nothing_happens_until_it_is_awaited(self) -> None:
        done: list[int] = []
        coroutine = step(lambda: done.append(1))()
        coroutine.close()
        assert done == []

    def test_methods(self) -> None:
        service = Service(10)
        assert asyncio.run(service.add(1)) == 11
        assert asyncio.run(Service.add(service, 1)) == 11
        assert asyncio.run(service.add.options(retries=0)(1)) == 11
        value, thread = asyncio.run(service.add_in_thread(1))
        assert value == 11
        assert thread != threading.get_ident()

    def test_static_and_class_methods(self) -> None:
        assert asyncio.run(Service.double(4)) == 8
        untyped: Any = Service(10)  # mypy takes the first parameter of both for `self`
        assert asyncio.run(untyped.double(4)) == 8
        assert asyncio.run(untyped.name()) == "Service"

    def test_a_step_in_a_step(self) -> None:
        @step
        async def outer() -> int:
            return await step(add)(1)

        assert asyncio.run(outer()) == 2


class TestCallingAStepInARun:
    """There the run's owner makes it a durable one."""

    def test_the_owner_is_called(self) -> None:
        async def body() -> Any:
            return await step(add)(1, b=2), await step("other")(add_in_thread)(3)

        result, calls = in_a_run(body)
        assert result == ("recorded", "recorded")
        assert calls == [("add", (1,), {"b": 2}), ("other", (3,), {})]

    def test_methods_bring_their_object(self) -> None:
        service = Service(10)

        async def body() -> Any:
            return await service.add(1), await Service.double(2)

        _, calls = in_a_run(body)
        assert calls == [("add", (service, 1), {}), ("double", (2,), {})]
        assert service.add.signature.bind((service, 1), {}).raw == b'{"a":1}'

    def test_the_line_of_the_caller_is_two_frames_up(self) -> None:
        seen: list[str] = []

        class Looking(Owner):
            async def call_step(self, step: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG002 - an override
                frame = inspect.currentframe()
                assert frame is not None
                assert frame.f_back is not None
                assert frame.f_back.f_back is not None
                seen.append(frame.f_back.f_back.f_code.co_name)

        async def body() -> None:
            await step(add)(1)

        loop = RunLoop(0, 0)
        loop.owner = Looking()
        loop.start(body(), Context())
        loop.drive()
        assert seen == ["body"]


class TestCallingAWorkflow:
    def test_where_no_run_is_active(self) -> None:
        with pytest.raises(DurablyError, match=r"await engine\.start\(add, …\)`, or call `add\.fn\(…\)`"):
            asyncio.run(workflow("sum")(add)(1))

    def test_its_function(self) -> None:
        assert asyncio.run(workflow(add).fn(1)) == 2


def test_results_are_decoded_as_annotated() -> None:
    declared: Definition[..., Any] = step(add_in_thread)
    assert declared.decode_result(b"[1,2]") == (1, 2)
    assert repr(declared) == "<step 'add_in_thread'>"
    assert isinstance(workflow(add), Workflow)
