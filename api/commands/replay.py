"""`durably replay`: does the code still do what a history says, and where does it stand after a part of it?"""

import asyncio
from collections.abc import Iterator, Sequence

import click
from msgspec import to_builtins
from rich.text import Text

from durably import DurablyError, History, NondeterminismError
from durably.api import target as targets
from durably.api.commands.command import NO, Command, option, print_json, put, say
from durably.api.commands.debugger import open_debugger
from durably.api.commands.history import read_history
from durably.api.commands.rehearse import rehearse
from durably.api.commands.source import Server, reading
from durably.api.commands.stack import draw_stack
from durably.api.commands.variables import local_variables
from durably.api.console import clean, output_console
from durably.engine.body.matching import outcome_of
from durably.engine.body.playback import Playback
from durably.engine.log.grammar import Entry, parse
from durably.engine.log.records import from_us
from durably.engine.log.steps import find_step, known_steps
from durably.engine.loop.handles import RunTask
from durably.engine.loop.whereabouts import own_frames
from durably.replay import Replayer

__all__ = ["replay"]


@click.command(cls=Command)
@click.argument("given", metavar="[FILE|RUN] TARGET", nargs=-1)
@option("--until", metavar="SEQ|STEP", help="Stop after this record, or where this step is called, and show that.")
@option("--pdb", "debug", is_flag=True, help="Open pdb there: at --until, where it does not fit, or at the end.")
@option("--task", metavar="PATH", help="The asyncio task that --pdb opens in.  [default: the innermost]")
@option("--all-open", is_flag=True, help="Try every open run of a store: which of them would block with this code?")
@reading
def replay(
    *,
    given: tuple[str, ...],
    until: str | None,
    debug: bool,
    task: str | None,
    all_open: bool,
    server: Server,
    as_json: bool,
) -> None:
    """Replay a history with the code of TARGET: does it still do what FILE, or RUN, says it did?

    No step runs and nothing is changed. Exit status 1, and what differs, when it does not fit.

    With --all-open, which takes TARGET alone: replay every run of the store (--store, or that of the engine that TARGET
    names) that has not ended, also beside a running server. Exit status 1 if one of them would block.
    """
    _check_arguments(given, until=until, debug=debug, all_open=all_open)
    if all_open:
        fits = asyncio.run(rehearse(targets.load(given[0]), server, as_json=as_json))
    else:
        history, target = given
        code, read = targets.load(target), read_history(history, server)
        name = str(read.run.get("id", history))
        if until is None and not debug:
            fits = _check(name, read, code, as_json=as_json)
        else:
            fits = _look(name, read, code, until, task, debug=debug, as_json=as_json)
    if not fits:
        click.get_current_context().exit(NO)


def _check_arguments(given: tuple[str, ...], *, until: str | None, debug: bool, all_open: bool) -> None:
    ctx = click.get_current_context()
    if all_open and (until is not None or debug):
        raise click.UsageError("--all-open looks at many runs, --until and --pdb at one: give FILE or RUN", ctx)
    wanted = ["TARGET"] if all_open else ["FILE or RUN", "TARGET"]
    if len(given) < len(wanted):
        raise click.UsageError(f"Missing argument {wanted[len(given)]}.", ctx)
    if len(given) > len(wanted):
        raise click.UsageError(f"{given[len(wanted)]!r} is one argument too many: this takes {', '.join(wanted)}", ctx)


def _check(name: str, history: History, code: targets.Target, *, as_json: bool) -> bool:
    """Replay all of it."""
    try:
        Replayer(code.workflows).replay(history)
    except NondeterminismError as error:
        if as_json:
            print_json({"run": name, "fits": False, "kind": error.kind, "mismatch": str(error)})
        else:
            put(f"{error}")
        return False
    if as_json:
        print_json({"run": name, "fits": True, "records": len(history)})
    else:
        put(f"run {name} fits: {code.name} does what its {len(history)} records say")
    return True


# -- stopping on the way


def _look(
    name: str,
    history: History,
    code: targets.Target,
    until: str | None,
    task: str | None,
    *,
    debug: bool,
    as_json: bool,
) -> bool:
    """Replay a part of it, and show where the code stands then."""
    entries = history.entries()
    seq = None if until is None else _record(name, entries, until)
    log = parse(entries)
    workflow = Replayer(code.workflows).workflow_of(log)
    try:
        playback = Playback(workflow, name, log, seq)
    except LookupError as error:
        raise DurablyError(f"{error}: there is no code to look at yet") from None
    with playback:
        if as_json:
            print_json(_facts(name, playback))
        else:
            why = "" if seq is None else _why_earlier(entries[seq - 1], playback)
            for line in _picture(name, playback, why):
                output_console().print(line, soft_wrap=True)
        if debug:
            _debug(playback, task)
        return playback.misfit is None


def _record(name: str, entries: Sequence[Entry], until: str) -> int:
    """The number of a record, or that of the input after which the code calls a step, the last time."""
    if until.isdecimal():
        if not 1 <= int(until) <= len(entries):
            raise DurablyError(f"run {name} has {len(entries)} records, and no record {until}")
        return int(until)
    step = find_step(known_steps(entries), until)
    if step.called is None:
        raise DurablyError(f"step {step.key} was not called in run {name}: its outcome was given")
    return step.called


def _why_earlier(wanted: Entry, playback: Playback) -> str:
    """Why the code stands at an earlier record than the one that was asked for; empty where it does not."""
    group = playback.group
    if playback.misfit is not None or wanted.seq == group.seq:
        return ""
    if any(command is wanted.record for command in group.commands):
        return f"record {wanted.seq} is what the code did after record {group.seq}: this is where it stood then"
    return f"record {wanted.seq} tells the code nothing: it stood where it did after record {group.seq}"


def _facts(name: str, playback: Playback) -> dict[str, object]:
    misfit = playback.misfit
    tasks = [
        {**to_builtins(task), "locals": [dict(given) for given in _locals(each)]}
        for task, each in zip(playback.tasks(), playback.instance.loop.alive(), strict=True)
    ]
    return {
        "run": name,
        "record": playback.group.seq,
        "fits": misfit is None,
        "kind": None if misfit is None else misfit.kind,
        "mismatch": None if misfit is None else str(misfit),
        "ended": playback.instance.ended,
        "tasks": tasks,
    }


def _picture(name: str, playback: Playback, why: str) -> Iterator[Text]:
    now = from_us(playback.instance.now_us)
    if playback.misfit is not None:
        yield Text(clean(str(playback.misfit)), "magenta")
        yield Text()
    if why:
        yield Text(why, "dim")
    yield Text.assemble("run ", (name, "bold"), f" at {playback.at}, {now.isoformat(timespec='seconds')}")
    outcome = outcome_of(playback.instance)
    if outcome is None:
        alive = playback.instance.loop.alive()
        variables = {(task.path, number): given for task in alive for number, given in enumerate(_locals(task))}
        yield from draw_stack(playback.tasks(), now, variables)
    elif isinstance(outcome, bytes):
        yield Text(f"  the body has returned {clean(outcome.decode())}")
    else:
        yield Text(f"  the body has raised {clean(repr(outcome))}")


def _locals(task: RunTask) -> list[list[tuple[str, str]]]:
    return [local_variables(frame) for frame in own_frames(task.get_coro())]


def _debug(playback: Playback, path: str | None) -> None:
    outcome = outcome_of(playback.instance)
    if isinstance(outcome, BaseException) and outcome.__traceback__ is not None:
        open_debugger([], outcome)
        return
    alive = playback.instance.loop.alive()
    if path is not None and path not in {task.path for task in alive}:
        there = ", ".join(task.path for task in alive) or "none"
        raise DurablyError(f"there is no asyncio task {path!r} at {playback.at}; there are {there}")
    if not alive:
        say("the body has ended: there is no frame to look into")
        return
    chosen = _nearest(alive, path)
    if chosen is None:
        say("no asyncio task is in a line of yours: there is no frame to look into")
        return
    if path not in {None, chosen.path}:
        say(f"asyncio task {path} is in no line of yours: this is {chosen.path}, which has created it")
    open_debugger(own_frames(chosen.get_coro()))


def _nearest(alive: Sequence[RunTask], path: str | None) -> RunTask | None:
    """The innermost asyncio task with a frame of the user's: of all, or of this one and those that led to it."""
    with_frames = [task for task in alive if own_frames(task.get_coro())]
    if path is not None:
        with_frames = [task for task in with_frames if f"{path}/".startswith(f"{task.path}/")]
    return max(with_frames, key=lambda task: task.path.count("/"), default=None)
