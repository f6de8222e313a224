"""What the lint finds, what it lets pass, and what comments allow. Each case on each Python."""

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import examples
from durably import Workflow
from durably.encryption import Encryption
from durably.engine.lint.findings import Finding, LintError
from durably.engine.lint.lint import lint, refuse_findings
from durably.engine.lint.rules import KINDS, RULES

Find = Callable[..., list[Finding]]
Load = Callable[[str], ModuleType]

HELPER = "import time\nasync def helper():\n    time.time()"
STAMPED = """
from dataclasses import dataclass, field
import time

@dataclass
class Stamped:
    cents: int
    at: float = field(default_factory=time.time)
"""

FAULTS: list[tuple[str, str, str]] = [
    # kind, before the workflow, in it
    ("clock", "import time", "time.time()"),
    ("clock", "from time import monotonic as mono", "mono()"),
    ("clock", "import datetime as dt", "dt.datetime.utcnow()"),
    ("clock", "from datetime import datetime, UTC", "print(datetime.now(UTC).isoformat())"),
    ("clock", "from datetime import date", "date.today()"),
    ("clock", "import time", "clock = time.perf_counter\nclock()"),
    ("clock", "import time\nnow = time.time", "now()"),
    ("clock", "", "import time\ntime.time()"),
    ("clock", "", "from time import time as clock\nclock()"),
    ("clock", "import time", "time.strftime('%H')"),
    ("clock", "import time", "(lambda: time.time())()"),
    ("clock", "import time", "[time.time() for _ in range(3)]"),
    ("clock", "import time", "{str(n): time.time() for n in range(3)}"),
    ("clock", "import time", "list(time.time() for _ in range(3))"),
    ("clock", "import time", "def inner():\n    return time.time()\ninner()"),
    ("clock", "import time", "async def inner():\n    return time.time()\nawait asyncio.gather(inner())"),
    ("clock", "import time\ndef helper():\n    return deeper()\ndef deeper():\n    return time.time()", "helper()"),
    ("clock", HELPER, "async with asyncio.TaskGroup() as group:\n    group.create_task(helper())"),
    ("clock", f"import anyio\n{HELPER}", "async with anyio.create_task_group() as tg:\n    tg.start_soon(helper)"),
    ("clock", "import time\nclass Quote:\n    def age(self):\n        return time.time()", "Quote().age()"),
    ("clock", "import time\nclass Quote:\n    @property\n    def age(self): return time.time()", "Quote().age"),
    ("clock", "import time\nclass Quote:\n    def __init__(self):\n        self.at = time.time()", "Quote()"),
    ("clock", STAMPED, "Stamped(3)"),
    ("clock", "import time\nclass Shop:\n    def close(self): time.time()\nshop = Shop()", "shop.close()"),
    ("random", "import random", "random.random()"),
    ("random", "from random import choice", "choice([1, 2])"),
    ("random", "import random", "random.Random()"),
    ("random", "import random\ndice = random.Random(3)", "dice.random()"),
    ("random", "import uuid", "uuid.uuid4()"),
    ("random", "from secrets import token_hex", "token_hex()"),
    ("random", "import os", "os.urandom(8)"),
    ("random", "import random", "sorted([1, 2], key=lambda _: random.random())"),
    ("environment", "import os", "os.environ['HOME']"),
    ("environment", "from os import environ", "environ.get('HOME')"),
    ("environment", "import os", "list(map(os.getenv, ['HOME']))"),
    ("environment", "import sys", "sys.argv[1:]"),
    ("file", "", "open('x')"),
    ("file", "", "with open('x') as file:\n    file.read()"),
    ("file", "from pathlib import Path", "Path('x').read_text()"),
    ("file", "from pathlib import Path", "(Path('x') / 'y').write_text('z')"),
    ("file", "from pathlib import Path", "path = Path('x')\npath.exists()"),
    ("file", "from pathlib import Path\nHOME = Path('x')", "HOME.joinpath('y').unlink()"),
    ("file", "import shutil", "shutil.rmtree('x')"),
    ("file", "import anyio", "await anyio.open_file('x')"),
    ("network", "import socket", "socket.create_connection(('localhost', 1))"),
    ("network", "import requests", "requests.get('http://localhost')"),
    ("network", "", "import requests\nrequests.post('http://localhost')"),
    ("network", "import requests\nsession = requests.Session()", "session.get('http://localhost')"),
    ("network", "import httpx", "async with httpx.AsyncClient() as client:\n    await client.get('http://localhost')"),
    ("network", "import httpx\nclient = httpx.Client()", "client.get('http://localhost')"),
    ("network", "from aiohttp import ClientSession", "async with ClientSession() as session:\n    pass"),
    ("network", "import urllib.request", "urllib.request.urlopen('http://localhost')"),
    ("network", "", "import smtplib\nsmtplib.SMTP('localhost')"),
    ("process", "import subprocess", "subprocess.run(['true'])"),
    ("process", "import os", "os.system('true')"),
    ("process", "", "await asyncio.create_subprocess_exec('true')"),
    ("process", "import anyio", "await anyio.run_process(['true'])"),
    ("thread", "import threading", "threading.Thread(target=print).start()"),
    ("thread", "from concurrent.futures import ThreadPoolExecutor", "ThreadPoolExecutor()"),
    ("thread", "", "await asyncio.to_thread(print)"),
    ("thread", "import anyio.to_thread", "await anyio.to_thread.run_sync(print)"),
    ("thread", "from anyio import to_thread", "await to_thread.run_sync(print)"),
    ("thread", "", "await asyncio.get_running_loop().run_in_executor(None, print)"),
    ("blocking", "import time", "time.sleep(1)"),
    ("blocking", "import threading\nlock = threading.Lock()", "with lock:\n    pass"),
    ("blocking", "", "asyncio.run(charge())"),
    ("order", "", "for name in {'a', 'b'}:\n    await charge()"),
    ("order", "", "for name in set('ab'):\n    await charge()"),
    ("order", "", "names = {str(n) for n in range(3)}\nfor name in names:\n    await charge()"),
    ("order", "", "names = set('ab') - {'a'}\nfor name in names:\n    await charge()"),
    ("order", "", "for name in await customers():\n    await charge()"),
    ("order", "NAMES = frozenset({'a', 'b'})", "[await charge() for name in NAMES]"),
    ("order", "", "list({'a', 'b'})"),
    ("order", "", "','.join(n for n in {'a', 'b'})"),
    ("order", "", "first, second = {'a', 'b'}"),
    ("order", "", "[*{'a', 'b'}]"),
    ("order", "", "await asyncio.gather(*{charge(1), charge(2)})"),
    ("order", "", "await asyncio.gather(*(charge() for name in {'a', 'b'}))"),
    ("order", "", "set('ab').pop()"),
    ("order", "def names():\n    return {'a', 'b'}", "for name in names():\n    await charge()"),
    ("order", "", "for first in asyncio.as_completed([charge(1), charge(2)]):\n    await first"),
    ("identity", "", "hash('a')"),
    ("identity", "", "id('a')"),
    ("global", "count = 0", "global count\ncount = 1"),
    ("global", "count = 0\ndef more():\n    global count\n    count += 1", "print(count)"),
    ("global", "cache = {}", "cache['a'] = 1"),
    ("global", "seen = []", "seen.append(1)"),
    ("global", "class Settings:\n    debug = False", "Settings.debug = True"),
    ("global", "import itertools\nids = itertools.count()", "next(ids)"),
    ("cancel", "", "try:\n    await charge()\nexcept asyncio.CancelledError:\n    pass"),
    ("cancel", "", "try:\n    await charge()\nexcept BaseException:\n    print('no')"),
    ("cancel", "", "try:\n    await charge()\nexcept:\n    print('no')"),
    ("cancel", "Stop = asyncio.CancelledError", "try:\n    await charge()\nexcept (ValueError, Stop):\n    pass"),
    ("cancel", "from contextlib import suppress", "with suppress(asyncio.CancelledError):\n    await charge()"),
    ("input", "", "input()"),
    ("input", "import sys", "sys.stdin.read()"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "before", "body"), FAULTS, ids=[f"{kind}: {body}" for kind, _, body in FAULTS])
def test_a_fault_is_found(find: Find, kind: str, before: str, body: str) -> None:
    """Once, and nothing else."""
    [finding] = find(body, before)
    assert finding.kind == kind


def test_every_kind_has_a_fault() -> None:
    assert {kind for kind, _, _ in FAULTS} == set(KINDS)


GOOD = """
import asyncio, contextlib, datetime, random, requests, time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from uuid import UUID, uuid4, uuid5
import anyio
import httpx
from durably import Event, StepError, continue_as_new

RATES = {"a": 1, "b": 2}
NAMES = frozenset({"a", "b"})
BASE = Path("/srv")
LIMIT = 3

@dataclass
class Order:
    sku: str
    lines: list = field(default_factory=list)
    id: UUID = field(default_factory=uuid4)

    @property
    def total(self) -> int:
        return sum(self.lines)

class Basket:
    lines: list = []

    def __init__(self) -> None:
        self.lines = []

class Gateway:
    @step
    async def pay(self, cents: int) -> str:
        return requests.get("http://localhost").text + str(time.time())

gateway = Gateway()

@workflow
async def child() -> int: ...

def fetch(url: str) -> str:
    return requests.get(url).text

def describe(order: Order) -> str:
    return f"{order.sku} {order.total}"

@workflow
async def flow(event: Event) -> str:
    '''Everything that may be done.'''
    began = durably.now()
    day = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    later = datetime.datetime.fromisoformat("2020-01-01") + datetime.timedelta(days=LIMIT)
    dice = random.Random(3)
    dice.shuffle([1, 2])
    durably.random().choice([1, 2])
    number = durably.uuid4()
    name = uuid5(UUID(int=1), "x")
    order = Order(sku="a", id=number)
    order.lines.append(RATES["a"])
    basket = Basket()
    basket.lines.append(3)
    basket.lines[0] = 4
    order.lines += [RATES.get(name, 0) for name in sorted(NAMES)]
    print(describe(order), day, later, began, name, dice.random(), time.gmtime(0), time.strftime("%Y", time.gmtime(0)))
    current().logger.info("hello")
    await charge(3)
    await charge.options(retries=1)(4)
    await gateway.pay(3)
    await child()
    await run_step("fetch", fetch, "http://localhost")
    await run_step("fetch", lambda: requests.get("http://localhost").text)
    await run_step("fetch", partial(requests.get, "http://localhost"))
    await run_step("time", time.time)
    def local() -> float:
        return time.time()
    await run_step("local", local)
    def in_a_cell() -> float:
        return time.time()
    await run_step("local", lambda: in_a_cell())
    seen = set()
    for each in ["a", "b"]:
        if each not in seen:
            seen.add(each)
    assert len(seen) == 2 and seen == {"a", "b"} and "a" in NAMES
    ordered = sorted({"b", "a"}) + sorted(x for x in seen) + [min(NAMES)]
    upper = {x.upper() for x in seen} | NAMES
    total = sum(len(x) for x in seen)
    tasks = {asyncio.create_task(charge(n)) for n in range(3)}
    done, pending = await asyncio.wait(tasks)
    for task in done:
        await task
    for first in asyncio.as_completed([asyncio.create_task(charge(n)) for n in range(3)]):
        await first
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(charge(n)) for n in range(3)]
    for first in asyncio.as_completed(running):
        await first
    lock, queue, event_ = asyncio.Lock(), asyncio.Queue(), anyio.Event()
    async with lock, asyncio.timeout(3):
        await queue.put(Counter(ordered))
    undo = [lambda: charge(1), lambda: charge(2)]
    try:
        await asyncio.wait_for(asyncio.sleep(3), 4)
        await asyncio.gather(*(compensate() for compensate in undo), return_exceptions=True)
    except asyncio.CancelledError:
        await charge(-3)
        raise
    except (StepError, requests.HTTPError, httpx.ConnectError):
        pass
    except BaseException as error:
        raise RuntimeError("no") from error
    try:
        int("x")
    except:
        pass
    with contextlib.suppress(StepError):
        await charge(3)
    target = BASE / "a" / f"{number}.txt"
    print(str(target), target.name, PurePosixPath("x").parent, isinstance(order, Path), upper, total, pending)
    return repr(hashlib_of(order.sku))

def hashlib_of(text: str) -> str:
    import hashlib
    return hashlib.sha256(text.encode()).hexdigest()
"""


def test_a_good_workflow_has_no_finding(load: Load) -> None:
    module = load(f"import durably\nfrom durably import current, run_step, step, workflow\n"
                  f"@step\nasync def charge(cents: int) -> str: ...\n{GOOD}")  # fmt: skip
    assert list(map(str, lint([module.flow, module.child]))) == []


def test_the_examples_have_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLINIC_KEYS", Encryption.new_key())  # encryption.py takes it when it is imported
    modules = [importlib.import_module(f"examples.{each.name}") for each in pkgutil.iter_modules(examples.__path__)]
    found: list[Workflow[..., Any]] = [
        value for module in modules for value in vars(module).values() if isinstance(value, Workflow)
    ]
    assert {"onboard", "fulfil"} <= {each.name for each in found}
    assert lint(found) == []


def names() -> list[tuple[str, str]]:
    """Every name of the rules that there is on this Python."""
    found: list[tuple[str, str]] = []
    for rule in RULES:
        for name in rule.names:
            module, obj = name.rpartition(".")[0], None
            while module and obj is None:
                try:
                    obj = importlib.import_module(module)
                except ImportError:
                    module = module.rpartition(".")[0]
            for part in name.removeprefix(module).split(".")[1:]:
                obj = getattr(obj, part, None)
            if obj is not None:
                found.append((module, name))
    return found


def test_every_name_of_the_rules_is_found_by_name_and_by_import(load: Load) -> None:
    lines = ["from durably import workflow"]
    known = names()
    assert len(known) > 300
    for index, (module, name) in enumerate(known):
        path = name.removeprefix(f"{module}.")
        first, _, rest = path.partition(".")
        lines.append(f"import {module} as m{index}\nfrom {module} import {first} as n{index}")
        argument = "'%H'" if name == "time.strftime" else ""
        for prefix, what in (("m", path), ("n", rest)):
            lines.append(f"@workflow\nasync def {prefix}low{index}() -> None:\n"
                         f"    {prefix}{index}{'.' if what else ''}{what}({argument})")  # fmt: skip
    module_ = load("\n".join(lines))
    missed = [
        (name, prefix)
        for index, (_, name) in enumerate(known)
        for prefix in "mn"
        if len(lint([getattr(module_, f"{prefix}low{index}")])) != 1
    ]
    assert missed == []


# -- what is told


def test_a_finding_says_where_what_and_how_it_is_reached(find: Find) -> None:
    [finding] = find(
        "# Ärger\nprint('ä', outer())",
        "import time\ndef outer():\n    return inner()\ndef inner():\n    return 'ä', time.time()  # here",
    )
    assert finding.problem == "time.time() reads the clock, and on replay the time is another"
    assert finding.remedy == "Use durably.now()"
    assert finding.message == f"{finding.problem}. {finding.remedy}"
    assert finding.source == "    return 'ä', time.time()  # here"
    assert finding.source[finding.column - 1 :][: finding.width] == "time.time()"
    assert (finding.function, finding.callers) == ("inner", ("flow", "outer"))
    assert finding.where == "inner(), called by flow → outer"
    assert finding.file.endswith(".py")
    assert str(finding).startswith(f"{finding.file}:{finding.line}: clock: ")


def test_code_without_a_source_is_read_too() -> None:
    names: dict[str, Any] = {}
    exec("import time\nfrom durably import workflow\n@workflow\nasync def flow(): time.time()", names)  # noqa: S102
    [finding] = lint([names["flow"]])
    assert (finding.kind, finding.line, finding.source) == ("clock", 4, "")


def test_what_two_workflows_share_is_told_once_and_in_the_order_of_the_file(load: Load) -> None:
    module = load(
        "import time, random\nfrom durably import workflow\n"
        "def shared():\n    return time.time()\n"
        "@workflow\nasync def one():\n    shared()\n"
        "@workflow\nasync def two():\n    shared()\n    random.random()\n"
    )
    assert [(each.line, each.kind) for each in lint([module.two, module.one])] == [(4, "clock"), (11, "random")]


def test_what_is_in_a_finally_is_told_once(find: Find) -> None:
    assert len(find("try:\n    await charge()\nfinally:\n    print(time.time())", "import time")) == 1


def test_a_function_that_calls_itself_is_read_once(find: Find) -> None:
    """Else this would take for ever."""
    calls = "    again(n - 1)\n" * 20
    assert len(find("again(3)", f"import time\ndef again(n):\n    time.time()\n{calls}")) == 1


def test_a_decorator_hides_nothing(find: Find) -> None:
    before = """
        import functools, time
        def logged(fn):
            @functools.wraps(fn)
            async def wrapper(*args):
                print(time.time())
                return await fn(*args)
            return wrapper
    """
    found = find("time.monotonic()", before, define="@logged\nasync def flow() -> None:")
    assert [each.problem.split("(")[0] for each in found] == ["time.time", "time.monotonic"]


def test_all_findings_are_in_the_error(find: Find, load: Load) -> None:
    assert not find("await charge()")
    module = load(
        "import time\nfrom durably import workflow\n@workflow\nasync def flow():\n    time.time()\n    id(1)\n"
    )
    with pytest.raises(LintError, match=r"(?s)clock: time\.time.*identity: id") as caught:
        refuse_findings([module.flow])
    assert len(caught.value.findings) == 2
    assert "durably: allow[kind]" in str(caught.value)


def test_steps_are_not_looked_into(load: Load) -> None:
    module = load("import time\nfrom durably import step\n@step(on='a/b')\nasync def click(event):\n    time.time()\n")
    assert lint([module.click]) == []


def test_reading_runs_nothing_of_the_users(find: Find) -> None:
    before = """
        class Trap:
            def __getattr__(self, name): raise SystemExit(name)
            def __eq__(self, other): raise SystemExit("eq")
            def __hash__(self): raise SystemExit("hash")
            @property
            def value(self): raise SystemExit("value")
        trap = Trap()
    """
    assert find("trap.value\ntrap.other.more()\ntrap()\nfor each in trap: pass\nprint(trap == 1)", before) == []


# -- comments


def kinds(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(each.kind, each.problem) for each in findings]


@pytest.mark.parametrize(
    "body",
    [
        "time.time()  # durably: allow[clock]",
        "time.time()  #durably:allow[ clock ] - only printed",
        "time.time(), random.random()  # durably: allow[clock, random]",
        "time.time(\n)  # durably: allow[clock]",
        "try:\n    await charge()\nexcept BaseException:  # durably: allow[cancel]\n    pass",
    ],
)
def test_a_comment_on_the_line_allows(find: Find, body: str) -> None:
    assert kinds(find(body, "import time, random")) == []


@pytest.mark.parametrize(
    "define",
    [
        "async def flow() -> None:  # durably: allow[clock]",
        "async def flow(\n    name: str,\n) -> None:  # durably: allow[clock]",
        "async def flow() -> None:\n    # durably: allow[clock] - only printed\n",
    ],
)
def test_a_comment_on_the_def_allows_in_the_whole_function(find: Find, define: str) -> None:
    assert kinds(find("time.time()\nprint(lambda: time.time())", "import time", define=define)) == []


def test_a_comment_allows_its_kind_only(find: Find) -> None:
    found = find("random.random()  # durably: allow[clock]", "import random")
    assert [each.kind for each in found] == ["random", "allow"]
    assert found[1].problem == "nothing of kind 'clock' is found here"
    assert found[1].source[found[1].column - 1 :].startswith("clock")


@pytest.mark.parametrize("kind", ["time", "", "allow"])
def test_a_comment_with_an_unknown_kind_is_found(find: Find, kind: str) -> None:
    [found] = find(f"await charge()  # durably: allow[{kind}]")
    assert (found.kind, found.problem) == ("allow", f"there is no kind '{kind}'")
    assert "clock, random" in found.remedy


def test_a_comment_in_a_string_is_none(find: Find) -> None:
    assert find("print('# durably: allow[clock]')") == []


def test_comments_in_functions_that_are_not_read_are_left_alone(find: Find) -> None:
    assert find("await charge()", "def other():\n    pass  # durably: allow[clock]") == []
