"""What a server says first: what it runs, and where to look."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from rich.text import Text

from durably import Event
from durably.api.target import Definition

__all__ = ["facts", "welcome"]

SAMPLES: Mapping[Any, Any] = {
    int: 1,
    float: 1.0,
    bool: True,
    str: "…",
    "int": 1,
    "float": 1.0,
    "bool": True,
    "str": "…",
}


def facts(workflows: tuple[Definition, ...], store: str, url: str, pid: int) -> dict[str, Any]:
    """The same for programs."""
    return {
        "kind": "serving",
        "url": url,
        "pid": pid,
        "store": store,
        "workflows": [
            {"name": each.name, "version": each.version, "on": _events(each)} for each in workflows
        ],
    }


def welcome(name: str, workflows: tuple[Definition, ...], store: str, url: str, pid: int) -> Iterator[Text]:
    """Lines that say what runs where, and what to try first."""
    yield Text.assemble(("durably", "bold green"), f" serves {name}, process {pid}")
    for index, each in enumerate(workflows):
        version = f" version {each.version}" if each.version > 1 else ""
        events = _events(each)
        on = f"  on {', '.join(events)}" if events else ""
        yield _fact(
            "runs" if index == 0 else "", Text.assemble((each.name, "bold"), (version, "dim"), (on, "dim"))
        )
    yield _fact("store", Text(store))
    yield _fact(
        "look at", Text(f"{url}/  ·  {url}/api/v1/workflow-runs  ·  durably runs  ·  durably show RUN")
    )
    if workflows:
        yield _fact("try", Text(_first_thing(workflows, url), "cyan"))


def _fact(name: str, value: Text) -> Text:
    return Text.assemble((f"  {name:<9}", "dim"), value)


def _events(definition: Definition) -> list[str]:
    return [trigger.name for trigger in definition.triggers]


def _first_thing(workflows: tuple[Definition, ...], url: str) -> str:
    """A line for curl that triggers the first workflow that an event triggers, else one that starts the first."""
    for each in workflows:
        for event in _events(each):
            body = msgspec.json.encode({"name": event.replace("*", "example"), "data": {}}).decode()
            return f"curl {url}/e/dev -d '{body}'"
    body = msgspec.json.encode({"input": _sample(workflows[0])}).decode()
    return f"curl {url}/api/v1/workflows/{workflows[0].name}/actions/run -H 'Content-Type: application/json' -d '{body}'"


def _sample(definition: Definition) -> dict[str, Any]:
    """An input of the right shape for simple parameters; null stands for what has to be filled in."""
    return {
        name: SAMPLES.get(parameter.annotation)
        for name, parameter in inspect.signature(definition.fn).parameters.items()
        if parameter.default is parameter.empty and parameter.annotation is not Event
    }
