"""`durably`: the command line. The commands themselves are in `durably.api.commands`, imported when they are called."""

from importlib import import_module
from typing import NamedTuple

import click

__all__ = ["main"]


class _Entry(NamedTuple):
    """Where a command is, and what the list of commands says of it."""

    module: str
    help: str


COMMANDS: dict[str, _Entry] = {
    "dev": _Entry("serve", "Serve a target while you work on it: reloads on change."),
    "serve": _Entry("serve", "Serve a target: engine and HTTP API in one process."),
    "worker": _Entry("unbuilt", "Work for a store that others serve. (not built yet)"),
    "migrate": _Entry("migrate", "Bring a store to this version's schema."),
    "start": _Entry("start", "Start a run of a workflow."),
    "send": _Entry("start", "Send an event."),
    "runs": _Entry("runs", "List runs, newest first."),
    "show": _Entry("runs", "Show what a run did, step by step."),
    "cancel": _Entry("control", "Cancel a run."),
    "signal": _Entry("control", "Send a signal to a run."),
    "rerun": _Entry("control", "Run again what a run did."),
    "fork": _Entry("control", "Go on from the middle of a run, in a new one."),
    "bulk": _Entry("bulk", "Cancel many runs, or run them again."),
    "export": _Entry("history", "Write a run's history as JSON."),
    "diff": _Entry("diff", "Show what two runs did differently."),
    "replay": _Entry("replay", "Replay a history with the code at hand."),
    "check": _Entry("check", "Find what is not deterministic in workflows."),
    "verify": _Entry("unbuilt", "Check a store's invariants. (not built yet)"),
    "keys": _Entry("keys", "Make, list and revoke API keys."),
    "environments": _Entry("environments", "Make, list and delete environments."),
    "usage": _Entry("usage", "Show the runs and tasks that were used, by day."),
}


class _Commands(click.Group):
    """A group that imports a command only to run it, so that `durably --help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(import_module(f"durably.api.commands.{entry.module}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="durably")
def main() -> None:
    """Durable async workflows: serve them, start runs, and see what they did.

    TARGET is file.py or pkg.mod, optionally with :engine. Every option is also an environment variable, --store
    DURABLY_STORE. Exit status: 0, 1 for a "no", 2 for bad use.
    """
