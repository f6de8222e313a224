"""What a function's annotations mean for its arguments: looked at once, when the function is declared.

Annotations that cannot work are refused there (CONTRACT section 2), with the function, the parameter, the
reason and the way out.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    NoReturn,
    Optional,
    ParamSpecArgs,
    ParamSpecKwargs,
    Union,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)

from durably.engine.declare.events import Event
from durably.engine.values.codec import Unsupported, decoder_for

__all__ = ["PLAIN", "Parameter", "Resolved", "Unresolved", "resolve"]

PLAIN: frozenset[type] = frozenset({str, int, float, bool, NoneType})
"""Immutable types whose values are the same after JSON."""

_MISSING = inspect.Parameter.empty


class Unresolved(Unsupported):
    """An annotation names what is not defined, or not yet."""


@dataclass(frozen=True, eq=False)
class Parameter:
    """A parameter with its annotation resolved."""

    name: str
    kind: int
    default: Any
    annotation: Any

    @property
    def required(self) -> bool:
        """Whether a call has to give it."""
        return self.default is _MISSING

    @cached_property
    def refusal(self) -> str | None:
        """Why no JSON can be decoded by the annotation; arguments are then passed as they are."""
        return _refusal(self.annotation)

    @cached_property
    def json_type(self) -> Any:
        """What to decode it by."""
        return Any if self.refusal else self.annotation

    @cached_property
    def plain_types(self) -> frozenset[type]:
        """Types whose values decoding by the annotation would not change, and that need no copy."""
        return _plain_types(self.json_type)


@dataclass(frozen=True)
class Resolved:
    """What is known of a function once its annotations are resolved."""

    parameters: tuple[Parameter, ...]
    returns: Any
    event: str | None
    """The parameter that takes the event of a triggered or scheduled function."""


def resolve(
    fn: Callable[..., Any], name: str, declared: inspect.Signature, *, live: bool, triggered: bool, scheduled: bool
) -> Resolved:
    """Resolve the annotations of a function. The parameters are those of `declared`.

    Raises:
        Unresolved: one of them names what is not defined.
        Unsupported: one of them cannot work. Arguments that may be `live` are passed as they are: of those
            only unions of types with the same form in JSON are refused.
    """
    try:
        hints = get_type_hints(fn, include_extras=True)
    except (NameError, AttributeError) as error:
        raise _unresolved(name, declared, error) from error
    parameters = [_parameter(each, hints.get(each.name, Any)) for each in declared.parameters.values()]
    event = None
    if triggered:
        parameters, event = _with_event(parameters, name)
    elif scheduled:
        event = _event_or_none(parameters, name)
    returns = hints.get("return", Any)
    try:
        for parameter in parameters:
            if parameter.refusal and (not live or _is_ambiguous(parameter.annotation)):
                _refuse(f"parameter {parameter.name!r}", name, parameter.annotation, parameter.refusal)
        refusal = _refusal(returns)
        if refusal:
            _refuse("the result", name, returns, refusal)
    except NameError as error:  # in a field of a dataclass
        raise _unresolved(name, declared, error) from error
    return Resolved(tuple(parameters), returns, event)


def _unresolved(name: str, declared: inspect.Signature, error: NameError | AttributeError) -> Unresolved:
    culprits = [
        repr(parameter.name)
        for parameter in declared.parameters.values()
        if error.name and error.name in str(parameter.annotation)
    ]
    where = f" (parameter {', '.join(culprits)})" if culprits else ""
    return Unresolved(
        f"an annotation of {name}(){where} cannot be resolved: {error}. "
        "Define or import the name at the top of the module, not under `if TYPE_CHECKING`"
    )


def _refuse(what: str, name: str, annotation: Any, why: str) -> NoReturn:
    raise Unsupported(
        f"{what} of {name}() is annotated {inspect.formatannotation(annotation)}, which cannot work: {why}. "
        "Change the annotation, or leave it out for JSON's own types"
    )


def _parameter(declared: inspect.Parameter, annotation: Any) -> Parameter:
    default = declared.default
    if isinstance(annotation, ParamSpecArgs | ParamSpecKwargs) or get_origin(annotation) is Unpack:
        annotation = Any
    if default is None and annotation is not Any:
        annotation = Optional[annotation]  # noqa: UP045 - the operator | does not take every annotation
    if declared.kind is inspect.Parameter.VAR_POSITIONAL:
        default, annotation = (), list[annotation]
    elif declared.kind is inspect.Parameter.VAR_KEYWORD:
        default, annotation = {}, dict[str, annotation]
    return Parameter(declared.name, declared.kind, default, annotation)


def _with_event(parameters: list[Parameter], name: str) -> tuple[list[Parameter], str | None]:
    """Find the parameter that takes the event. A lone one without annotation takes it, too."""
    if not parameters:
        return parameters, None  # it only wants to be started
    if len(parameters) == 1 and parameters[0].annotation is Any:
        parameters = [replace(parameters[0], annotation=Event)]
    event = next((each.name for each in parameters if _is_event(each.annotation)), None)
    others = [each.name for each in parameters if each.required and each.name != event]
    if event is None or others:
        raise Unsupported(
            f"{name}() is started by events, so it must take an event and nothing else that has no default, "
            f"like `async def {name}(event: Event)`; it takes {', '.join(each.name for each in parameters)}"
        )
    return parameters, event


def _event_or_none(parameters: list[Parameter], name: str) -> str | None:
    """Find the parameter that takes a schedule's event. There need be none: a schedule has nothing to say."""
    event = next((each.name for each in parameters if _is_event(each.annotation)), None)
    others = [each.name for each in parameters if each.required and each.name != event]
    if others:
        raise Unsupported(
            f"{name}() is started by a schedule, which has nothing to give but an event, to a parameter annotated "
            f"`Event`; so each other parameter needs a default, and {', '.join(others)} has none"
        )
    return event


# -- annotations


def _refusal(annotation: Any) -> str | None:
    try:
        decoder_for(annotation)
    except Unsupported as error:
        return str(error)
    return None


def _is_ambiguous(annotation: Any) -> bool:
    """Whether no JSON can be decoded because of a union of types that have one form in JSON."""
    parts = get_args(annotation)
    if _is_union(annotation) and all(_refusal(part) is None for part in parts):
        return _refusal(annotation) is not None
    return any(map(_is_ambiguous, parts))


def _plain_types(annotation: Any) -> frozenset[type]:
    if annotation in (Any, object):
        return PLAIN
    if _is_union(annotation):
        return frozenset(chain.from_iterable(map(_plain_types, get_args(annotation))))
    return PLAIN & {annotation} if isinstance(annotation, type) else frozenset()


def _is_event(annotation: Any) -> bool:
    if _is_union(annotation) or get_origin(annotation) is Annotated:
        return any(map(_is_event, get_args(annotation)))
    return annotation is Event or get_origin(annotation) is Event


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType)
