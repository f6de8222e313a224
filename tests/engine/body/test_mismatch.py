"""What the error says, to the letter, for each way in which code and history can differ."""

import asyncio
import json
import linecache
import re
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest

from durably import (
    History,
    NondeterminismError,
    RunFailed,
    Workflow,
    deprecate_patch,
    step,
    wait_for_event,
    wait_for_signal,
    workflow,
)
from durably.engine.body.matching import Kind
from durably.engine.body.mismatch import BLOCKED
from durably.engine.log.versions import ANYIO, ENGINE, PYTHON
from durably.replay import Replayer
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


@step
async def reserve(sku: str, count: int = 1) -> str:
    return f"{count} {sku}"


@step
async def charge(cents: int) -> None: ...


@step
async def mail(to: str) -> None: ...


@workflow("order")
async def order(sku: str) -> str:
    reservation = await reserve(sku)
    await asyncio.sleep(60)
    await charge(100)
    return reservation


async def history_of(started: Workflow[..., Any], *args: Any) -> History:
    async with TestEngine(workflows=[started]) as engine:
        run = await engine.start(started, *args)
        with suppress(RunFailed):
            await run.result()
        return await run.history()


def named(fn: Callable[..., Any]) -> Workflow[..., Any]:
    """The same workflow with other code."""
    return workflow("order")(fn)


def mismatch(code: Workflow[..., Any], history: History) -> NondeterminismError:
    with pytest.raises(NondeterminismError) as raised:
        Replayer([code]).replay(history)
    return raised.value


# -- a changed workflow for each kind


async def without_the_reservation(sku: str) -> str:
    await asyncio.sleep(60)
    await charge(100)
    return f"1 {sku}"


async def without_anything(sku: str) -> str:  # noqa: ARG001 - as in the original
    return await asyncio.Event().wait() and ""


async def with_a_mail_before(sku: str) -> str:
    await mail(sku)
    return await reserve(sku)


async def mail_to(sku: str) -> None:
    await mail(sku)


async def with_a_mail_beside(sku: str) -> str:
    mailing = asyncio.create_task(mail_to(sku))
    reservation = await reserve(sku)
    await mailing
    return reservation


async def that_charges_first(sku: str) -> str:
    await charge(100)
    reservation = await reserve(sku)
    await asyncio.sleep(60)
    return reservation


async def reserve_one(sku: str) -> str:
    return await reserve(sku)


async def that_sets_the_timer_earlier(sku: str) -> str:
    async with asyncio.timeout(60):
        return await reserve(sku)


async def in_another_task(sku: str) -> str:
    return await asyncio.create_task(reserve_one(sku))


@step("book")
async def book(sku: str, count: int = 1) -> str:
    return f"{count} {sku}"


async def with_a_step_of_another_name(sku: str) -> str:
    return await book(sku)


async def with_another_argument(sku: str) -> str:
    return await reserve(sku, 2)


async def with_a_longer_sleep(sku: str) -> str:
    reservation = await reserve(sku)
    await asyncio.sleep(90)
    return reservation


async def that_returns_early(sku: str) -> str:
    return await reserve(sku)


async def that_goes_on(sku: str) -> str:
    await reserve(sku)
    await asyncio.sleep(60)
    await charge(100)
    return await asyncio.Event().wait() and ""


async def that_mails_at_the_end(sku: str) -> str:
    reservation = await reserve(sku)
    await asyncio.sleep(60)
    await charge(100)
    await mail(sku)
    return reservation


async def that_returns_something_else(sku: str) -> str:
    reservation = await reserve(sku)
    await asyncio.sleep(60)
    await charge(100)
    return reservation.upper()


async def that_raises(sku: str) -> str:
    await reserve(sku)
    await asyncio.sleep(60)
    await charge(100)
    raise LookupError(f"no {sku}")


@step("reserve")
async def reserve_many(sku: str, count: int = 1) -> list[str]:
    return [sku] * count


async def with_another_annotation(sku: str) -> str:
    return (await reserve_many(sku))[0]


class Case(NamedTuple):
    """A changed workflow, and the lines of the error that are its own."""

    code: Callable[..., Awaitable[Any]]
    kind: Kind
    record: str
    findings: str


CASES = [
    Case(
        without_the_reservation,
        "missing",
        "2, run.started, of 2026-01-01T00:00:00+00:00",
        """
  expected (history): step 'reserve' (0/reserve#0) with {"sku":"lamp","count":1}, called at FILE:LINE
  got (code):         timer 0/timer#0 of 1 min
  at 0: without_the_reservation (FILE:LINE)""",
    ),
    Case(
        without_anything,
        "missing",
        "2, run.started, of 2026-01-01T00:00:00+00:00",
        """
  expected (history): step 'reserve' (0/reserve#0) with {"sku":"lamp","count":1}, called at FILE:LINE
  got (code):         the body waits for something else
  at 0: without_anything (FILE:LINE)""",
    ),
    Case(
        with_a_mail_before,
        "extra",
        "2, run.started, of 2026-01-01T00:00:00+00:00",
        """
  expected (history): step 'reserve' (0/reserve#0) with {"sku":"lamp","count":1}, called at FILE:LINE
  got (code):         step 'mail' (0/mail#0) with {"to":"lamp"}, called at FILE:LINE
  at 0: with_a_mail_before (FILE:LINE)""",
    ),
    Case(
        with_a_mail_beside,
        "extra",
        "2, run.started, of 2026-01-01T00:00:00+00:00",
        """
  expected (history): nothing more
  got (code):         step 'mail' (0/0/mail#0) with {"to":"lamp"}, called at FILE:LINE
  at 0: with_a_mail_beside (FILE:LINE)
  at 0/0: mail_to (FILE:LINE)""",
    ),
    Case(
        that_charges_first,
        "reordered",
        "2, run.started, of 2026-01-01T00:00:00+00:00",
        """
  expected (history): step 'reserve' (0/reserve#0) with {"sku":"lamp","count":1}, called at FILE:LINE
  got (code):         step 'charge' (0/charge#0) with {"cents":100}, called at FILE:LINE
  at 0: that_charges_first (FILE:LINE)""",
    ),
    Case(
        that_sets_the_timer_earlier,
        "reordered",
        "2, run.started, of 2026-01-01T00:00:00+00:00",
        """
  expected (history): nothing more
  got (code):         timer 0/timer#0 of 1 min
  at 0: that_sets_the_timer_earlier (FILE:LINE)""",
    ),
    Case(
        with_a_step_of_another_name,
        "renamed",
        "2, run.started, of 2026-01-01T00:00:00+00:00",
        """
  expected (history): step 'reserve' (0/reserve#0) with {"sku":"lamp","count":1}, called at FILE:LINE
  got (code):         step 'book' (0/book#0) with {"sku":"lamp","count":1}, called at FILE:LINE
  at 0: with_a_step_of_another_name (FILE:LINE)""",
    ),
    Case(
        in_another_task,
        "moved",
        "2, run.started, of 2026-01-01T00:00:00+00:00",
        """
  expected (history): step 'reserve' (0/reserve#0) with {"sku":"lamp","count":1}, called at FILE:LINE
  got (code):         step 'reserve' (0/0/reserve#0) with {"sku":"lamp","count":1}, called at FILE:LINE
  at 0: in_another_task (FILE:LINE)
  at 0/0: reserve_one (FILE:LINE)""",
    ),
    Case(
        with_another_argument,
        "changed arguments",
        "2, run.started, of 2026-01-01T00:00:00+00:00",
        """
  expected (history): step 'reserve' (0/reserve#0), called at FILE:LINE
  got (code):         step 'reserve' (0/reserve#0), called at FILE:LINE
  differs:            count: 1, now 2
  at 0: with_another_argument (FILE:LINE)""",
    ),
    Case(
        with_a_longer_sleep,
        "changed delay",
        "4, step.succeeded, of 2026-01-01T00:00:00+00:00",
        """
  expected (history): timer 0/timer#0 of 1 min
  got (code):         timer 0/timer#0 of 1 min 30 s
  at 0: with_a_longer_sleep (FILE:LINE)""",
    ),
    Case(
        that_returns_early,
        "ended early",
        "4, step.succeeded, of 2026-01-01T00:00:00+00:00",
        """
  expected (history): timer 0/timer#0 of 1 min
  got (code):         the body returned "1 lamp\"""",
    ),
    Case(
        that_goes_on,
        "ended late",
        "8, step.succeeded, of 2026-01-01T00:01:00+00:00",
        """
  expected (history): the run succeeded with "1 lamp"
  got (code):         the body waits for something else
  at 0: that_goes_on (FILE:LINE)""",
    ),
    Case(
        that_mails_at_the_end,
        "ended late",
        "8, step.succeeded, of 2026-01-01T00:01:00+00:00",
        """
  expected (history): the run succeeded with "1 lamp"
  got (code):         step 'mail' (0/mail#0) with {"to":"lamp"}, called at FILE:LINE
  at 0: that_mails_at_the_end (FILE:LINE)""",
    ),
    Case(
        that_returns_something_else,
        "ended otherwise",
        "8, step.succeeded, of 2026-01-01T00:01:00+00:00",
        """
  expected (history): the run succeeded with "1 lamp"
  got (code):         the body returned "1 LAMP\"""",
    ),
    Case(
        that_raises,
        "ended otherwise",
        "8, step.succeeded, of 2026-01-01T00:01:00+00:00",
        """
  expected (history): the run succeeded with "1 lamp"
  got (code):         the body raised LookupError: no lamp, in that_raises (FILE:LINE)""",
    ),
    Case(
        with_another_annotation,
        "damaged value",
        "4, step.succeeded, of 2026-01-01T00:00:00+00:00",
        """
  the recorded result of step 0/reserve#0: Expected `array`, got `str`""",
    ),
]

CAUSE = "  The workflow's code has changed since the run started (fingerprint OLD, now NEW)."
WAY_OUT = {
    "damaged value": "  Let the annotation take the old value as well, put the fitting code back, or",
    "new patch": "  Put `if patched(…):` with the old way back in the place of `deprecate_patch(…)` until no such "
    "run is open, or",
}
WAY_OUT["renamed"] = (
    '  Give the new function the old name, `@step("reserve")`, or bring the change under `if patched("…"):` with the '
    "old way in its `else`, or"
)
USUAL_WAY_OUT = (
    '  Put the fitting code back, or bring the change under `if patched("…"):` with the old way in its `else`, or'
)


def without_places(message: str) -> str:
    """Lines, files and fingerprints differ from one machine to the next."""
    message = re.sub(r"[^\s(]*test_mismatch\.py:\d+", "FILE:LINE", message)
    return re.sub(r"fingerprint \w{16}, now \w{16}", "fingerprint OLD, now NEW", message)


def whole_message(case: Case, run: str) -> list[str]:
    where = "at" if case.kind == "damaged value" else "after"
    return [
        f"run {run} of workflow 'order' (version 1) does not fit its history {where} record {case.record}",
        f"  {case.kind}: {EXPLANATION[case.kind]}",
        *case.findings.splitlines()[1:],
        CAUSE,
        f"{WAY_OUT.get(case.kind, USUAL_WAY_OUT)} keep the old workflow beside the new one as version=2.",
        f"  More in the documentation: nondeterminism, {case.kind!r}",
    ]


EXPLANATION = {
    "missing": "the code no longer does something that the history holds",
    "extra": "the code does something that the history does not hold",
    "reordered": "the code does the same things in another order",
    "renamed": "the code calls something of another name in its place, with the same arguments",
    "moved": "the code does the same in another asyncio task, and so under another key",
    "changed arguments": "the code does the same with other arguments",
    "changed delay": "the code sets the same timer with another delay",
    "ended early": "the code has come to its end while the history goes on",
    "ended late": "the history has come to its end while the code goes on",
    "ended otherwise": "the code ends in another way than the history",
    "changed wait": "the code waits for something else in the same place",
    "new patch": "the code takes it for granted that this run goes the way of a patch, and it is from before it",
    "damaged value": "the code cannot read a value that the history holds",
}
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.code.__name__)


@each_case
async def test_the_replayer_says_what_differs_where_why_and_what_to_do(case: Case) -> None:
    history = await history_of(order, "lamp")
    error = mismatch(named(case.code), history)
    assert error.kind == case.kind
    assert without_places(str(error)).splitlines() == whole_message(case, history.run["id"])


@pytest.mark.parametrize("case", [case for case in CASES if case.record[0] != "8"], ids=lambda case: case.code.__name__)
async def test_an_engine_blocks_the_run_with_the_same_words_and_goes_on_with_the_old_code(case: Case) -> None:
    """Once for each fingerprint, whatever is tried; nothing is lost by it."""
    async with TestEngine(workflows=[order]) as engine:
        engine.mock(charge, takes=1000)
        run = await engine.start(order, "lamp")
        await engine.clock.advance(61)
        for _ in range(2):
            engine.workflows = (named(case.code),)
            await engine.restart()
            await engine.clock.advance(100)
        info = await run.info()
        assert (info.status, info.phase) == ("RUNNING", "blocked")
        assert info.error is not None
        assert without_places(info.error.message).splitlines() == [*whole_message(case, run.id), BLOCKED]
        engine.workflows = (order,)
        await engine.restart()
        assert await run.result() == "1 lamp"
        types = (await run.history()).types()
        assert (types.count("run.blocked"), types.count("run.unblocked")) == (1, 1)


# -- the same for what a run waits for, starts and marks


@workflow("child")
async def child(page: int) -> int:
    return page


@workflow("child", version=2)
async def new_child(page: int) -> int:
    return page


@workflow("order")
async def waits() -> None:
    await wait_for_event("app/paid", match={"id": 1}, timeout=60)
    await child(1)


async def for_another_event() -> None:
    await wait_for_event("app/paid", match={"id": 2}, timeout=60)


async def for_a_signal() -> None:
    await wait_for_signal("paid", timeout=60)


async def with_another_page() -> None:
    await wait_for_event("app/paid", match={"id": 1}, timeout=60)
    await child(2)


async def that_takes_a_patch_for_granted() -> None:
    deprecate_patch("tax")
    await wait_for_event("app/paid", match={"id": 1}, timeout=60)


AT_START = "2, run.started, of 2026-01-01T00:00:00+00:00"
AT_DEADLINE = "4, timer.fired, of 2026-01-01T00:01:00+00:00"
OTHER_CASES = [
    Case(
        for_another_event,
        "changed wait",
        AT_START,
        """
  expected (history): wait for event 'app/paid' (0/event#0) that matches {"id":1} for 1 min
  got (code):         wait for event 'app/paid' (0/event#0) that matches {"id":2} for 1 min
  at 0: for_another_event (FILE:LINE)""",
    ),
    Case(
        for_a_signal,
        "extra",
        AT_START,
        """
  expected (history): wait for event 'app/paid' (0/event#0) that matches {"id":1} for 1 min
  got (code):         wait for signal 'paid' (0/signal#0) for 1 min
  at 0: for_a_signal (FILE:LINE)""",
    ),
    Case(
        with_another_page,
        "changed arguments",
        AT_DEADLINE,
        """
  expected (history): child 'child' version 1 (0/child#0), called at FILE:LINE
  got (code):         child 'child' version 1 (0/child#0), called at FILE:LINE
  differs:            page: 1, now 2
  at 0: with_another_page (FILE:LINE)""",
    ),
    Case(
        that_takes_a_patch_for_granted,
        "new patch",
        AT_START,
        """
  expected (history): nothing more
  got (code):         patch 'tax'
  at 0: that_takes_a_patch_for_granted (FILE:LINE)""",
    ),
]


@pytest.mark.parametrize("case", OTHER_CASES, ids=lambda case: case.code.__name__)
async def test_waits_children_and_patches_are_told_in_the_same_way(case: Case) -> None:
    async with TestEngine(workflows=[waits, child, new_child], max_parked=10) as engine:
        run = await engine.start(waits)
        await run.result()
        history = await run.history()
    Replayer([waits, child, new_child]).replay(history)
    with pytest.raises(NondeterminismError) as raised:
        Replayer([named(case.code), child, new_child]).replay(history)
    assert raised.value.kind == case.kind
    assert without_places(str(raised.value)).splitlines() == whole_message(case, run.id)


async def test_a_workflow_that_is_not_there_is_told_with_those_that_are() -> None:
    error = mismatch(child, await history_of(order, "lamp"))
    assert error.kind == "unknown workflow"
    assert str(error) == (
        "the history is of workflow 'order' version 1, which is not among those given: child version 1. Keep it "
        "registered until its last run has ended. More in the documentation: nondeterminism, 'unknown workflow'"
    )


def test_every_kind_is_in_the_tables_above() -> None:
    tried = {case.kind for case in [*CASES, *OTHER_CASES]} | {"unknown workflow"}
    assert tried == set(get_args(Kind))


async def test_the_lines_it_names_are_those_of_the_calls() -> None:
    message = str(mismatch(named(with_another_argument), await history_of(order, "lamp")))
    lines = [int(number) for number in re.findall(r"test_mismatch\.py:(\d+)", message)]
    found = [linecache.getline(__file__, number).strip() for number in lines]
    assert found == ["reservation = await reserve(sku)", *["return await reserve(sku, 2)"] * 2]


# -- the arguments


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"a": 1, "b": [1, {"c": 2}]}, {"a": 1, "b": [1, {"c": 3}]}, "what.b[1].c: 2, now 3"),
        ({"a": 1}, {}, "what.a: 1, now absent"),
        ({}, {"a": None}, "what.a: absent, now null"),
        ([1, 2], [1], "what: [1,2], now [1]"),
        ("x" * 300, "y", f'what: "{"x" * 119}… (302 characters), now "y"'),
        (
            {str(n): n for n in range(7)},
            {},
            "; ".join([*(f"what.{n}: {n}, now absent" for n in range(5)), "and 2 more"]),
        ),
    ],
)
async def test_of_long_arguments_only_the_difference_is_shown(before: Any, after: Any, said: str) -> None:
    given: list[Any] = [before]

    @step
    async def store(what: Any) -> None: ...

    @workflow("order")
    async def stores() -> None:
        await store(given[0])

    history = await history_of(stores)
    given[0] = after
    message = str(mismatch(stores, history))
    assert f"\n  differs:            {said}\n" in message


# -- why


async def test_unchanged_code_that_is_not_deterministic_is_named_as_that() -> None:
    names = iter(("first", "second"))

    @workflow("order")
    async def fickle() -> None:
        await mail(next(names))

    async with TestEngine(workflows=[fickle], max_parked=10) as engine:
        run = await engine.start(fickle)
        await run.result()
        history = await run.history()
    message = str(mismatch(fickle, history))
    assert "  The workflow's own code is unchanged (fingerprint " in message
    assert "a function it calls has changed, or it is not deterministic.\n" in message
    assert "  Run `durably check TARGET`, and put time, randomness, a set's order, globals and the" in message
    assert "Put the fitting code back" not in message


def begun_with(history: History, **versions: str) -> History:
    """The same history, as if it had been begun with other software."""
    document = json.loads(history.to_json())
    document["records"][1].update(versions)
    return History.from_json(json.dumps(document))


OTHERS = (
    "asyncio may do something in another order there; every version gives other fingerprints, so they do not tell "
    "whether the code has changed. Let the run end on 3.9."
)


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        (
            {"python": "3.9.18"},
            f"  The run began on Python 3.9, and this is HERE. {OTHERS}\n  Since then: Python 3.9.18, now HERE.\n",
        ),
        ({"anyio": "4.0.0"}, "NEW).\n  Since then: anyio 4.0.0, now ANYIO.\n"),
        ({"engine": "0.0.1"}, "NEW).\n  Since then: Durably 0.0.1, now ENGINE.\n"),
    ],
)
async def test_software_that_has_changed_since_is_named(versions: dict[str, str], said: str) -> None:
    history = begun_with(await history_of(order, "lamp"), **versions)
    message = without_places(str(mismatch(named(with_another_argument), history)))
    minor = ".".join(PYTHON.split(".")[:2])
    said = said.replace("this is HERE", f"this is {minor}").replace("HERE", PYTHON)
    if PYTHON.startswith("3.11."):
        said = said.replace("asyncio may do something in another order there", WAIT_FOR)
    assert said.replace("ANYIO", ANYIO).replace("ENGINE", ENGINE) in message


WAIT_FOR = (
    "Up to 3.11 asyncio.wait_for() puts what it waits for into an asyncio task of its own, so that steps in it have "
    "other keys"
)


async def test_wait_for_has_changed_after_3_11_and_the_error_says_so() -> None:
    """Recorded on 3.11, where `wait_for` made a task: elsewhere it is blocked with that reason, never different."""

    @workflow("order")
    async def waits() -> str:
        return await asyncio.wait_for(reserve("lamp"), 10)

    history = History.from_json((Path(__file__).parent / "wait_for_3_11.json").read_bytes())
    if sys.version_info < (3, 12):
        Replayer([waits]).replay(history)
        return
    error = mismatch(waits, history)
    assert error.kind == "moved"
    assert "expected (history): step 'reserve' (0/0/reserve#0)" in str(error)
    assert "got (code):         step 'reserve' (0/reserve#0)" in str(error)
    assert f"  The run began on Python 3.11, and this is {'.'.join(PYTHON.split('.')[:2])}. {WAIT_FOR}; " in str(error)
    assert "Let the run end on 3.11." in str(error)


# -- the page that the errors point to


def test_the_page_has_a_section_for_every_kind() -> None:
    page = (Path(__file__).parents[3] / "docs" / "nondeterminism.md").read_text("utf-8")
    sections = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert set(get_args(Kind)) <= set(sections)
