"""TARGET of the command line: `file.py` or `pkg.mod`, optionally `:engine`, and the workflows it stands for."""

import difflib
import importlib
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NamedTuple, TypeAlias, cast

from durably import DurablyError, Engine, RetryPolicy, Step, Workflow
from durably.encryption import Codec
from durably.engine.declare.registry import Registry

__all__ = ["BrokenTarget", "Definition", "NoTarget", "Target", "load", "load_codec"]

Definition: TypeAlias = Workflow[..., Any] | Step[..., Any]


class Target(NamedTuple):
    """What was found."""

    name: str
    """As it was given."""
    workflows: tuple[Definition, ...]
    engine: Engine | None
    """The engine that was named behind the colon."""
    folder: Path
    """Where its code is: what `dev` watches."""
    unused: Sequence[str] = ()
    """Engines of the module that were not named: their settings do not count."""


class NoTarget(DurablyError):  # noqa: N818 - named as the errors of the contract are
    """There is nothing of that name: the command line is wrong, not the code."""


class BrokenTarget(DurablyError):  # noqa: N818 - as above
    """The code is there and cannot be used: it does not import, or declares nothing to run."""

    def __init__(self, message: str, folder: Path, trace: str = "") -> None:
        super().__init__(message)
        self.folder = folder
        self.trace = trace
        """Python's own words, from the user's first line on; empty when it was no exception."""


class _Place(NamedTuple):
    """A module that is to be imported."""

    root: Path
    """The folder to be put on `sys.path`."""
    module: str
    file: Path | None

    @property
    def folder(self) -> Path:
        package = self.root / self.module.partition(".")[0]
        return package if package.is_dir() else self.root


def load(text: str) -> Target:
    """Import what `text` names and find its workflows.

    The module's folder (for a module of a package, the folder the package is in) comes first on `sys.path`,
    as when Python runs a file; `pkg.mod` is looked for from the working directory on. Raises `NoTarget` or
    `BrokenTarget`.
    """
    where, _, attribute = text.partition(":")
    place = _place(where)
    module = _import(place, text)
    if attribute:
        engine = _engine(module, attribute, text)
        return Target(text, engine.workflows, engine, place.folder)
    found = _definitions(module)
    if not found:
        raise BrokenTarget(
            f"{text} declares no workflow, and no step with a trigger: decorate an `async def` with @workflow, "
            "or a step with @step(on=…)",
            place.folder,
        )
    try:
        Registry(found, RetryPolicy.DEFAULT)
    except DurablyError as error:
        raise BrokenTarget(f"{text}: {error}", place.folder) from None
    return Target(text, tuple(found), None, place.folder, _engines(module))


def load_codec(text: str) -> Codec:
    """The codec that `pkg.mod:name` or `file.py:name` names. Raises `NoTarget` or `BrokenTarget`."""
    where, _, attribute = text.partition(":")
    value = getattr(_import(_place(where), text), attribute or "codec", None)
    if not all(callable(getattr(value, method, None)) for method in ("encode", "decode")):
        raise NoTarget(
            f"{text} names no codec: behind the colon stands the name of an object with `encode` and `decode`, as in "
            "app.py:codec"
        )
    return cast("Codec", value)


# -- where the code is


def _place(where: str) -> _Place:
    return _file(where) if where.endswith(".py") or "/" in where else _module(where)


def _file(where: str) -> _Place:
    path = Path(where).absolute()
    if not path.is_file():
        raise NoTarget(f"there is no file {where}" + _suggestion(path) + ". TARGET is file.py or pkg.mod")
    if path.suffix != ".py":
        raise NoTarget(f"{where} is no Python file. TARGET is file.py or pkg.mod")
    root, parts = path.parent, [] if path.stem == "__init__" else [path.stem]
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    return _Place(root, ".".join(parts), path)


def _suggestion(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}"
    names = [each.name for each in path.parent.glob("*.py")]
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _module(where: str) -> _Place:
    if not all(part.isidentifier() for part in where.split(".")):
        raise NoTarget(f"{where!r} is neither a file nor a module. TARGET is file.py or pkg.mod, optionally :engine")
    return _Place(Path.cwd(), where, None)


# -- importing it


def _import(place: _Place, text: str) -> ModuleType:
    sys.path.insert(0, str(place.root))
    try:
        module = importlib.import_module(place.module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{place.module}.".startswith(f"{error.name}."):
            raise NoTarget(
                f"there is no module {error.name!r}: looked in {place.root} and where Python looks. TARGET is "
                "file.py or pkg.mod"
            ) from None
        raise _broken(text, place, error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Whatever a module raises while it is imported, SystemExit too, is to be shown to its author.
        raise _broken(text, place, error) from error
    if place.file is not None and not _is_from(module, place.file):
        raise NoTarget(
            f"{text} cannot be imported as {place.module!r}: that is "
            f"{module.__file__ or 'a module of Python itself'}. Rename the file"
        )
    return module


def _is_from(module: ModuleType, file: Path) -> bool:
    return module.__file__ is not None and Path(module.__file__).resolve() == file.resolve()


def _broken(text: str, place: _Place, error: BaseException) -> BrokenTarget:
    lines = traceback.format_exception(type(error), error, _own_frames(error.__traceback__))
    return BrokenTarget(f"{text} cannot be imported: {type(error).__name__}: {error}", place.folder, "".join(lines))


def _own_frames(frames: TracebackType | None) -> TracebackType | None:
    """From the user's first line on."""
    ours = (__file__, importlib.__file__)
    while frames is not None:
        name = frames.tb_frame.f_code.co_filename
        if name not in ours and not name.startswith("<frozen importlib"):
            return frames
        frames = frames.tb_next
    return None


# -- what it declares


def _definitions(module: ModuleType) -> Sequence[Definition]:
    """Workflows, and steps with a trigger or schedule, in the order of the module; of `.options()` of the same, one."""
    found: dict[tuple[Callable[..., Any], str, int], Definition] = {}
    for value in vars(module).values():
        if not isinstance(value, Workflow | Step):
            continue
        definition = cast("Definition", value)
        if isinstance(definition, Workflow) or definition.triggers or definition.crons:
            found.setdefault((definition.fn, definition.name, definition.version), definition)
    return list(found.values())


def _engines(module: ModuleType) -> list[str]:
    return [name for name, each in vars(module).items() if isinstance(each, Engine)]


def _engine(module: ModuleType, attribute: str, text: str) -> Engine:
    value = getattr(module, attribute, None)
    if isinstance(value, Engine):
        return value
    engines = _engines(module)
    what = "is not there" if value is None else f"is a {type(value).__name__}"
    raise NoTarget(
        f"{text}: {attribute!r} {what}; behind the colon stands the name of an Engine in the module, "
        "which has " + (", ".join(engines) or "none")
    )
