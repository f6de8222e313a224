"""How programs are generated."""

from collections.abc import Callable
from itertools import count
from typing import Any
from zlib import crc32

import msgspec
from hypothesis import strategies as st

from tests.properties import leaves, nodes
from tests.properties.nodes import Part
from tests.properties.programs import Message, Program
from tests.properties.values import changed

__all__ = ["certain_programs", "programs"]

Draw = Callable[[st.SearchStrategy[Any]], Any]
Grow = Callable[[], Part]
"""Gives a smaller part, to put into a larger one."""

# -- leaves

WAITS = st.sampled_from([2.0, 5.0, 12.0, 800.0])
AFTER = st.just(0.1)
LIMITED = st.just(0.0) | WAITS
EVENTS = st.sampled_from(["a", "b"])
STEP = "step"
"""Stands for the name of a step until it is given one."""
STEPS = st.builds(
    leaves.Do,
    st.just(STEP),
    takes=st.sampled_from([1.0, 4.0, 9.0, 700.0]),
    fails=st.sampled_from([0] * 9 + [1, 2, 3]),
    step=st.sampled_from(["work"] * 6 + ["hurried", "fragile"]),
    draw=st.sampled_from(["", "", "now", "random", "uuid4"]),
)
SLEEPS = st.builds(leaves.Sleep, LIMITED, st.sampled_from(["asyncio", "durably", "anyio"]))
CERTAIN_LEAVES = [
    *[STEPS] * 9,
    *[SLEEPS] * 3,
    st.builds(leaves.Set, EVENTS),
    st.builds(leaves.Send, EVENTS, st.integers(0, 3)),
]
STUMBLES = st.builds(leaves.Stumble)
RACING_LEAVES = [
    STUMBLES,
    st.builds(leaves.Draw, st.sampled_from(["now", "random", "uuid4"])),
    st.builds(leaves.Await, EVENTS, WAITS),
    st.builds(
        leaves.AwaitMessage, st.just("event"), EVENTS, LIMITED, st.sampled_from(["", "event.data.n % 2 == 0"]), AFTER
    ),
    st.builds(leaves.AwaitMessage, st.just("signal"), EVENTS, LIMITED, after=AFTER),
]

# -- what is made of smaller parts

LIMITS = st.sampled_from(["timeout", "wait_for", "fail_after", "move_on_after"])
LOCKS = st.sampled_from(["lock", "semaphore", "condition", "anyio.Lock", "anyio.Semaphore"])
RACES = st.sampled_from(["wait", "as_completed"])  # wait_gathered is refused
ERRORS = st.sampled_from(["StepError", "Exception"])
COUNTS = st.sampled_from([2, 2, 3, 4])


def _parts(draw: Draw, grow: Grow) -> tuple[Part, ...]:
    return tuple(grow() for _ in range(draw(COUNTS)))


def _tame(grow: Grow) -> Grow:
    """Parts that do not raise, and so do not decide what becomes of those beside them."""

    def grow_tame() -> Part:
        part = grow()
        return nodes.Rescue(part, leaves.Sleep(), "Exception") if part.raises else part

    return grow_tame


CERTAIN: list[Callable[[Draw, Grow], Part]] = [
    lambda draw, grow: nodes.Sequence(_parts(draw, grow)),
    lambda draw, grow: nodes.Gather(_parts(draw, grow), draw(st.booleans())),
    lambda draw, grow: nodes.Group(_parts(draw, grow)),
    lambda draw, grow: nodes.Crew(_parts(draw, grow)),
    lambda draw, grow: nodes.Pipe(_parts(draw, grow), grow(), 1, draw(st.integers(0, 1))),
    lambda draw, grow: nodes.Generated(_parts(draw, grow), draw(COUNTS), draw(st.booleans())),
    lambda _, grow: nodes.Finally(grow(), grow()),
    lambda draw, grow: nodes.Rescue(grow(), grow(), draw(ERRORS)),
    lambda draw, grow: nodes.Compensate(grow(), grow(), draw(st.booleans())),
    lambda draw, grow: nodes.Child(grow(), draw(st.sampled_from(["call", "start"])), draw(AFTER)),
    lambda _, grow: nodes.Patched(grow()),
]
"""What leaves the outcome certain, if the parts do."""

RACING: list[Callable[[Draw, Grow], Part]] = [
    lambda draw, grow: nodes.Race(_parts(draw, grow), draw(RACES), draw(st.booleans())),
    lambda draw, grow: nodes.AsTheyCome(_parts(draw, grow), draw(COUNTS)),
    lambda draw, grow: nodes.Limit(grow(), draw(WAITS), draw(LIMITS)),
    lambda draw, grow: nodes.Shielded(grow(), draw(WAITS)),
    lambda draw, grow: nodes.Stopped(grow(), draw(WAITS)),
    lambda _, grow: nodes.Background(grow()),
    lambda draw, grow: nodes.Pipe(_parts(draw, grow), grow(), 2, draw(st.integers(0, 1))),
    lambda draw, grow: nodes.Guarded(grow(), draw(LOCKS)),
]
"""What lets time decide."""


def _part(draw: Draw, depth: int, *, racing: bool) -> Part:
    if depth == 0 or draw(st.integers(0, 2)) == 0:
        return draw(draw(st.sampled_from(CERTAIN_LEAVES + RACING_LEAVES * racing)))
    make = draw(st.sampled_from(CERTAIN + RACING * racing))

    def grow() -> Part:
        return _part(draw, depth - 1, racing=racing)

    return make(draw, grow if racing else _tame(grow))


MESSAGES = st.lists(
    st.builds(
        Message,
        st.sampled_from([0.5, 3.0, 8.0, 30.0, 750.0]),
        st.sampled_from(["cancel", "event", "event", "event", "signal", "signal"]),
        EVENTS,
    ),
    max_size=4,
).map(tuple)


@st.composite
def programs(draw: Draw, depth: int = 2) -> Program:
    """Programs of any kind, so deep in each of two to four parts, with messages from outside."""
    body = nodes.Sequence(_parts(draw, lambda: _part(draw, depth, racing=True)))
    return numbered(Program(body, draw(MESSAGES)))


@st.composite
def certain_programs(draw: Draw, depth: int = 2) -> Program:
    """Programs in which nothing races."""

    def grow() -> Part:
        return _part(draw, depth, racing=False)

    parts = _parts(draw, grow)
    if draw(st.booleans()):
        parts = (*parts, draw(STUMBLES), grow())
    return numbered(Program(nodes.Sequence(parts)))


def numbered(program: Program) -> Program:
    """Give each step a name of its own, and no two things the same time.

    What happens at the very same microsecond may happen in either order. So durations get odd fractions of a second,
    scattered so that sums of them differ too.
    """
    numbers = count(1)

    def odd(value: Any) -> Any:
        if value == STEP:
            return f"s{next(numbers)}"
        if isinstance(value, float) and value:
            return round(value + crc32(b"%d" % next(numbers)) % 1_000_000 / 1e6, 6)
        return value

    return msgspec.convert(changed(msgspec.to_builtins(program), odd), Program)
