"""A function's parameters: from a call to the JSON in the log, and from there to the arguments of the body.

A call is recorded as one JSON object by parameter name, defaults filled in, `*args` as an array and
`**kwargs` as an object under their own names. The body gets a copy, decoded by the annotations
(DESIGN rule 14).
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeAlias

import msgspec
from msgspec import NODEFAULT, UNSET, Raw, Struct
from msgspec.structs import astuple

from durably.engine.declare.events import Event
from durably.engine.declare.parameters import PLAIN, Resolved, Unresolved, resolve
from durably.engine.errors import InvalidInput, qualified_name
from durably.engine.values.codec import (
    Decode,
    Json,
    Malformed,
    Mismatch,
    Unencodable,
    decoder_for,
    digest,
    encode,
    encode_plain,
    stable_digest,
    try_encode,
)
from durably.engine.values.overriding import override

__all__ = ["Arguments", "Call", "Signature"]

Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
"""What to call a body with: arguments by position and by name."""

_NOTHING: Mapping[str, Any] = {}
_decode_fields = decoder_for(dict[str, Raw])


class Arguments(Struct, frozen=True):
    """The arguments of one call, bound and encoded."""

    signature: "Signature"
    args: tuple[Any, ...]
    """As they were given by position: what a body may have uncopied if they are all `plain`."""
    raw: bytes
    """The JSON object by parameter name."""
    digest: str
    """Changes when the arguments do, but for those that cannot be encoded."""
    plain: bool = False
    live: Mapping[str, Any] = _NOTHING
    """By parameter name, what is passed as it is and not decoded, such as clients."""

    def decode(self) -> Call:
        """A copy for the body.

        Raises:
            InvalidInput: an argument does not fit its annotation.
        """
        if self.plain:
            return self.args, {}
        signature = self.signature
        return signature.decode(self.raw, self.live, self.args[: signature.receivers])

    def override(self, changes: Raw) -> "Arguments":
        """These arguments with some of them replaced: an object by parameter name, as a fork has it."""
        raw, changed = override(self.raw, self.digest, changes)
        replaced = _decode_fields(changes).keys()
        live = {name: value for name, value in self.live.items() if name not in replaced}
        return Arguments(self.signature, self.args, raw, changed, live=live)


class Signature:
    """The parameters of a step or a workflow, and what it returns.

    `live` tells whether arguments may be passed as they are when JSON cannot carry them: in a step they may,
    because a replay calls it with them again. `triggered` tells that an event can be the input, `scheduled` that
    nobody may be there to give one. `receivers` is how many leading arguments are left out of the record: 1 for
    `self` of a method.

    An annotation with a name that is not defined yet is looked at again at the first use.

    Raises:
        TypeError: an annotation cannot work; the message names function, parameter, reason and way out.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str,
        *,
        live: bool,
        triggered: bool = False,
        scheduled: bool = False,
        receivers: int = 0,
    ) -> None:
        self.fn = fn
        self.name = name
        self.receivers = receivers
        self._live = live
        self._triggered = triggered
        self._scheduled = scheduled
        declared = inspect.signature(fn)
        self._declared = declared.replace(parameters=list(declared.parameters.values())[receivers:])
        self._names = tuple(self._declared.parameters)
        kinds = {parameter.kind for parameter in self._declared.parameters.values()}
        self._all_by_name = kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}
        self._shapes: dict[tuple[type, ...], tuple[Any, ...]] = {}
        self._decoders: dict[frozenset[str], Decode] = {}
        with suppress(Unresolved):  # defined further down in the module, or nowhere: the first use tells
            _ = self._resolved

    @cached_property
    def _resolved(self) -> Resolved:
        declared = self._declared
        return resolve(
            self.fn, self.name, declared, live=self._live, triggered=self._triggered, scheduled=self._scheduled
        )

    def check(self) -> None:
        """Raise what is wrong with annotations whose names were not defined at the declaration."""
        _ = self._resolved

    @cached_property
    def of_method(self) -> "Signature":
        """This signature for calls through an instance."""
        return Signature(self.fn, self.name, live=self._live, receivers=1)

    # -- binding

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Bind and encode the arguments of a call.

        Calls by position with nothing but text, integers, booleans and None take 1.5 µs: whether such
        arguments need a closer look is found out once for each combination of their types.

        Raises:
            TypeError: the arguments do not fit the parameters, as in any call.
        """
        if not kwargs:
            given = args[self.receivers :] if self.receivers else args
            rest = self._shapes.get(tuple(map(type, given)))
            if rest is not None:
                try:
                    raw = encode_plain(dict(zip(self._names, given + rest)))  # noqa: B905 - the shape says so
                except UnicodeEncodeError:
                    pass  # a lone surrogate
                else:
                    return Arguments(self, args, raw, digest(raw), plain=True)
        return self._bind(args, kwargs)

    def bind_input(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Bind and encode what a run is started with.

        Raises:
            InvalidInput: the arguments do not fit the parameters or their annotations, or cannot be encoded.
        """
        try:
            arguments = self.bind(args, kwargs)
        except TypeError as error:
            raise InvalidInput(str(error)) from None
        if arguments.plain:
            return arguments  # each is of a type that its annotation takes
        for name, value in arguments.live.items():
            try:
                encode(value)
            except Unencodable as error:
                raise InvalidInput(f"{self.name}(): parameter {name!r}: {error}") from None
        self.decode(arguments.raw)
        return arguments

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        values = self._values(args[self.receivers :], kwargs)
        live = {each.name: values[each.name] for each in self._resolved.parameters if each.refusal}
        raw = try_encode(values)
        if raw is None:
            return self._bind_live(args, values, live)
        if not PLAIN.issuperset(map(type, values.values())):
            return Arguments(self, args, raw, stable_digest(values, raw), live=live)
        plain = not kwargs and all(type(values[each.name]) in each.plain_types for each in self._resolved.parameters)
        if plain:
            self._learn(args[self.receivers :], values)
        return Arguments(self, args, raw, digest(raw), plain, live)

    def _learn(self, given: tuple[Any, ...], values: dict[str, Any]) -> None:
        types = tuple(map(type, given))
        if float not in types:  # each may be a NaN
            self._shapes[types] = tuple(values.values())[len(given) :]

    def _bind_live(self, args: tuple[Any, ...], values: dict[str, Any], live: dict[str, Any]) -> Arguments:
        """Bind arguments of which some cannot be encoded: recorded by type name, left out of the digest."""
        known: dict[str, Any] = {}
        recorded: dict[str, Any] = {}
        for name, value in values.items():
            if try_encode(value) is None:
                live[name] = value
                recorded[name] = {"$type": qualified_name(value.__class__)}
            else:
                known[name] = recorded[name] = value
        return Arguments(self, args, encode_plain(recorded), stable_digest(known, encode_plain(known)), live=live)

    def _values(self, given: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by parameter name, in the parameters' order, with defaults."""
        names = self._names
        if self._all_by_name and len(given) + len(kwargs) == len(names):
            values = dict(zip(names, given, strict=False))
            try:
                for name in names[len(given) :]:
                    values[name] = kwargs[name]
            except KeyError:
                pass  # inspect tells what is wrong
            else:
                return values
        try:
            bound = self._declared.bind(*given, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}(): {error}") from None
        bound.apply_defaults()
        return bound.arguments

    # -- decoding

    def decode(self, raw: Json, live: Mapping[str, Any] = _NOTHING, receivers: tuple[Any, ...] = ()) -> Call:
        """The arguments that `raw` records, each decoded by its annotation, defaults where they are left out.

        Raises:
            InvalidInput: the message names the parameter and what its annotation misses.
        """
        try:
            values = self._decoder(frozenset(live))(raw)
        except (Malformed, Mismatch) as error:
            raise InvalidInput(self._explain(raw, live) or f"{self.name}(): {error}") from None
        if self._all_by_name and not live and UNSET not in (given := astuple(values)):
            return receivers + given, {}
        args, kwargs = list(receivers), dict[str, Any]()
        for parameter in self._resolved.parameters:
            name = parameter.name
            value = live[name] if name in live else getattr(values, name)
            if value is UNSET:
                value = parameter.default
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                kwargs[name] = value
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                kwargs.update(value)
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                args.extend(value)
            else:
                args.append(value)
        return tuple(args), kwargs

    @property
    def takes_event(self) -> bool:
        """Whether a parameter is for the event that starts a run."""
        return self._resolved.event is not None

    def bind_event(self, event: Event[Any]) -> Call:
        """The arguments for a body that an event triggered: the event, its data decoded as annotated.

        Raises:
            InvalidInput: the data does not fit.
        """
        name = self._resolved.event
        return self.decode(encode({} if name is None else {name: event}))

    @cached_property
    def decode_result(self) -> Decode:
        """From JSON to what the function is annotated to return."""
        return decoder_for(self._resolved.returns)

    def _decoder(self, live: frozenset[str]) -> Decode:
        """From JSON to a struct of the arguments, those that are `live` undecoded."""
        decoder = self._decoders.get(live)
        if decoder is None:
            fields: list[tuple[str, Any, Any]] = [
                (
                    each.name,
                    Any if each.name in live else each.json_type,
                    NODEFAULT if each.required else UNSET,
                )
                for each in self._resolved.parameters
            ]
            struct = msgspec.defstruct(self.name, fields, kw_only=True, forbid_unknown_fields=True)
            decoder = self._decoders[live] = decoder_for(struct)
        return decoder

    def _explain(self, raw: Json, live: Mapping[str, Any]) -> str | None:
        """Which parameter misses what."""
        try:
            fields: dict[str, Raw] = _decode_fields(raw)
        except (Malformed, Mismatch) as error:
            return f"the input of {self.name}() must be an object by parameter name: {error}"
        for parameter in self._resolved.parameters:
            name = parameter.name
            if name not in fields:
                if parameter.required:
                    return f"{self.name}() misses its parameter {name!r}"
            elif name not in live:
                try:
                    decoder_for(parameter.json_type)(fields.pop(name))
                except (Malformed, Mismatch) as error:
                    annotation = inspect.formatannotation(parameter.annotation)
                    return f"{self.name}(): parameter {name!r} does not fit its annotation {annotation}: {error}"
        unknown = sorted(fields.keys() - set(self._names))
        return f"{self.name}() has no parameter {unknown[0]!r}; it takes {', '.join(self._names) or 'none'}"
