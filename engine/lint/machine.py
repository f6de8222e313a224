"""Reads bytecode as if it ran: what is on the stack, as far as it can be known, and what is done with it.

A straight pass from the first instruction to the last. Where a branch joins, the stack of the way that was read first
is taken; in exception handlers, which begin with an unknown stack, what is below is unknown. It follows that values
can be missed, and that there are no wrong ones on the stack, but for variables that branches set differently, where
the last one read counts.
"""

import dis
import sys
from collections.abc import Callable
from pathlib import PurePath
from types import CodeType
from typing import Any, ClassVar, TypeAlias

from durably.engine.lint.observer import Observer, Place
from durably.engine.lint.values import (
    NULL,
    SET_ITERATOR,
    UNKNOWN,
    Inner,
    Known,
    Made,
    Scope,
    Unknown,
    Value,
    class_of,
    is_set,
)

__all__ = ["Machine"]


Instruction: TypeAlias = dis.Instruction

NULL_IS_BELOW = sys.version_info < (3, 13)
"""The function, until Python 3.12. Behind it stands what is an argument if it is no NULL."""
NO_WAY_ON = {
    "RETURN_VALUE",
    "RETURN_CONST",
    "RAISE_VARARGS",
    "RERAISE",
    "JUMP_FORWARD",
    "JUMP_BACKWARD",
    "JUMP_BACKWARD_NO_INTERRUPT",
}
"""Behind them the next instruction is reached by jumps only."""
CLOSED: tuple[type[Any], ...] = (set, frozenset, PurePath)
"""Classes whose operators give another object of the same class."""
COLLECTIONS: dict[str, type] = {"BUILD_LIST": list, "BUILD_SET": set, "BUILD_TUPLE": tuple}


class Machine:
    """One reading of one piece of code."""

    def __init__(self, code: CodeType, scope: Scope, observer: Observer) -> None:
        self._code = code
        self._scope = scope
        self._observer = observer
        self._stack: list[Value] = []
        self._joining: dict[int, list[Value]] = {}
        """Stacks that jumps bring to places further down."""
        self._cells = frozenset(code.co_cellvars + code.co_freevars)
        self._at = Place(code.co_firstlineno, code.co_firstlineno, None, None)
        self._result: Value = UNKNOWN

    def run(self) -> Value:
        """Read it to its end; what it returns."""
        arrives = True
        for instruction in dis.get_instructions(self._code):
            joining = self._joining.pop(instruction.offset, None)
            if not arrives:
                self._stack = joining or []
            self._read(instruction)
            arrives = instruction.opname not in NO_WAY_ON
        return self._result

    def _read(self, instruction: Instruction) -> None:
        self._at = _place(instruction, self._at)
        if instruction.opcode in dis.hasjrel:
            jumping = list(self._stack)
            _resize(jumping, dis.stack_effect(instruction.opcode, instruction.arg, jump=True))
            self._joining.setdefault(instruction.argval, jumping)
        special = self._SPECIAL.get(instruction.opname)
        if special is not None:
            special(self, instruction)
        else:
            self._apply(instruction)

    def _apply(self, instruction: Instruction) -> None:
        """An instruction of which only the balance counts."""
        effect, name = _effect(instruction), instruction.opname
        if name.startswith(("POP_", "JUMP_", "END_")):
            _resize(self._stack, effect)
        elif effect > 0 and name.startswith("LOAD_"):
            self._stack += [UNKNOWN] * effect
        else:
            pushed = 2 if name.startswith("BEFORE_") else effect + 1 if name.startswith("UNPACK_") else max(1, effect)
            for value in self._pop_many(pushed - effect):
                self._observer.keep(value)
            self._stack += [UNKNOWN] * pushed

    def _leave(self, instruction: Instruction) -> None:
        """An instruction that leaves the values as they are."""
        _resize(self._stack, _effect(instruction))

    # -- the stack

    def _pop(self) -> Value:
        return self._stack.pop() if self._stack else UNKNOWN

    def _pop_many(self, count: int) -> list[Value]:
        values = [self._pop() for _ in range(count)]
        values.reverse()
        return values

    def _top(self, depth: int = 1) -> Value:
        return self._stack[-depth] if depth <= len(self._stack) else UNKNOWN

    def _push(self, value: Value) -> None:
        self._stack.append(value)

    # -- names

    def _load_const(self, instruction: Instruction) -> None:
        constant = instruction.argval
        is_code = isinstance(constant, CodeType)
        self._push(Inner(constant, self._scope.inner()) if is_code else Known(constant))

    def _load_variable(self, instruction: Instruction) -> None:
        name = instruction.argval
        self._push(self._scope.variable(name) if "DEREF" in instruction.opname else self._fast(name))

    def _load_two(self, instruction: Instruction) -> None:
        for name in instruction.argval:
            self._push(self._fast(name))

    def _fast(self, name: str) -> Value:
        """Not what is in a cell but the cell itself, for a function that is made here."""
        return UNKNOWN if name in self._cells else self._scope.variable(name)

    def _store_variable(self, instruction: Instruction) -> None:
        self._scope.variables[instruction.argval] = self._pop()

    def _store_and_load(self, instruction: Instruction) -> None:
        stored, loaded = instruction.argval
        self._scope.variables[stored] = self._pop()
        self._push(self._fast(loaded))

    def _store_two(self, instruction: Instruction) -> None:
        for name in instruction.argval:
            self._scope.variables[name] = self._pop()

    def _load_global(self, instruction: Instruction) -> None:
        name = instruction.argval
        known = instruction.opname == "LOAD_NAME" and name in self._scope.variables
        self._push(self._scope.variables[name] if known else self._observer.load_global(name, self._at))
        if _effect(instruction) > 1:  # it, or an attribute of it, is going to be called
            self._stack.insert(len(self._stack) - NULL_IS_BELOW, NULL)

    def _set_global(self, instruction: Instruction) -> None:
        _resize(self._stack, _effect(instruction))
        self._observer.set_global(instruction.argval, self._at)

    def _load_attribute(self, instruction: Instruction) -> None:
        self._push(self._observer.get(self._pop(), instruction.argval, self._at))
        if _effect(instruction) > 0:  # it is going to be called
            self._stack.insert(len(self._stack) - NULL_IS_BELOW, NULL)

    def _load_null(self, _: Instruction) -> None:
        self._push(NULL)

    def _import(self, instruction: Instruction) -> None:
        _, names = self._pop_many(2)
        whole = isinstance(names, Known) and bool(names.obj)
        name = instruction.argval
        self._push(self._observer.load_module(name, whole=whole))

    def _import_from(self, instruction: Instruction) -> None:
        self._push(self._observer.get(self._top(), instruction.argval, self._at))

    # -- changes

    def _change(self, instruction: Instruction) -> None:
        """Assignment to, or deletion of, an attribute, an item or a slice."""
        popped = self._pop_many(-_effect(instruction))
        is_store = instruction.opname.startswith("STORE_")
        if is_store:
            self._observer.keep(popped[0])
        self._observer.change(popped[is_store], self._at)

    # -- functions and calls

    def _make_function(self, instruction: Instruction) -> None:
        code = self._pop()
        _resize(self._stack, _effect(instruction))
        self._push(code)

    def _set_function_attribute(self, _: Instruction) -> None:
        self._push(self._pop_many(2)[1])

    def _before_call(self, _: Instruction) -> None:
        """Python 3.11 counts the arguments as gone by now; here they go with the call."""

    def _call(self, instruction: Instruction) -> None:
        count = instruction.arg or 0
        name = instruction.opname
        if name == "CALL_KW":
            self._pop()  # the names of its keywords
        arguments = self._pop_many(1 - _effect(instruction) - 2 if name == "CALL_FUNCTION_EX" else count)
        first, second = self._pop_many(2)
        callee = second if first is NULL else first
        if first is not NULL and second is not NULL:
            arguments.insert(0, second)
        if name == "CALL_FUNCTION_EX":
            arguments = self._unpacked(arguments)
        self._push(self._observer.call(callee, arguments, self._at))

    def _unpacked(self, arguments: list[Value]) -> list[Value]:
        """Of `f(*items, **options)`. A set that is unpacked was walked through."""
        items = arguments[0] if arguments else UNKNOWN
        self._observer.iterate(items, self._at)
        known = items.items if isinstance(items, Made) else []
        return known or [UNKNOWN] * len(arguments)

    def _enter(self, instruction: Instruction) -> None:
        self._observer.enter(self._top(), self._at)
        self._apply(instruction)

    def _return(self, _: Instruction) -> None:
        value = self._pop()
        if not isinstance(value, Unknown):
            self._result = value

    # -- collections

    def _build(self, instruction: Instruction) -> None:
        items = self._pop_many(instruction.arg or 0)
        for item in items:
            self._observer.keep(item)
        self._push(Made(COLLECTIONS[instruction.opname], items))

    def _add(self, instruction: Instruction) -> None:
        """One item, in a comprehension."""
        item, collection = self._pop(), self._top(instruction.arg or 1)
        self._observer.keep(item)
        if isinstance(collection, Made):
            collection.items.append(item)

    def _extend(self, instruction: Instruction) -> None:
        """`[*items]`"""
        items, collection = self._pop(), self._top(instruction.arg or 1)
        if isinstance(collection, Made):
            if collection.cls is not set:
                self._observer.iterate(items, self._at)
            collection.items.extend(items.items if isinstance(items, Made) else ())

    def _to_tuple(self, instruction: Instruction) -> None:
        if instruction.opname == "CALL_INTRINSIC_1" and instruction.argrepr != "INTRINSIC_LIST_TO_TUPLE":
            self._apply(instruction)

    def _iterate(self, _: Instruction) -> None:
        """Begin a walk. That of a set is still one without an order; whether that matters the next ones tell."""
        value = self._pop()
        self._push(Made(SET_ITERATOR, value.items if isinstance(value, Made) else []) if is_set(value) else UNKNOWN)

    def _next(self, instruction: Instruction) -> None:
        below = self._top(2)
        if not (isinstance(below, Made) and below.cls is set):  # a comprehension that makes another set
            self._observer.iterate(self._top(), self._at)
        self._apply(instruction)

    def _unpack(self, instruction: Instruction) -> None:
        self._observer.iterate(self._top(), self._at)
        self._apply(instruction)

    def _operate(self, _: Instruction) -> None:
        """A set and something, or a path and something, is again one."""
        left, _right = self._pop_many(2)
        cls = class_of(left)
        self._push(Made(cls) if issubclass(cls, CLOSED) else UNKNOWN)

    def _swap(self, instruction: Instruction) -> None:
        depth = instruction.arg or 1
        if depth <= len(self._stack):
            self._stack[-1], self._stack[-depth] = self._stack[-depth], self._stack[-1]

    def _copy(self, instruction: Instruction) -> None:
        self._push(self._top(instruction.arg or 1))

    _SPECIAL: ClassVar[dict[str, Callable[[Any, Instruction], None]]] = {
        name: method
        for names, method in (
            ("NOP RESUME CACHE KW_NAMES EXTENDED_ARG NOT_TAKEN COPY_FREE_VARS MAKE_CELL SETUP_ANNOTATIONS", _leave),
            # A value passes through its `await`: what a call is known to give, awaiting it gives.
            ("RETURN_GENERATOR GET_AWAITABLE SEND YIELD_VALUE DELETE_FAST DELETE_DEREF DELETE_NAME", _leave),
            ("LOAD_CONST", _load_const),
            ("LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_BORROW LOAD_CLOSURE LOAD_FAST_AND_CLEAR", _load_variable),
            ("LOAD_DEREF LOAD_CLASSDEREF", _load_variable),
            ("LOAD_FAST_LOAD_FAST LOAD_FAST_BORROW_LOAD_FAST_BORROW", _load_two),
            ("STORE_FAST STORE_DEREF STORE_NAME", _store_variable),
            ("STORE_FAST_LOAD_FAST", _store_and_load),
            ("STORE_FAST_STORE_FAST", _store_two),
            ("LOAD_GLOBAL LOAD_NAME", _load_global),
            ("STORE_GLOBAL DELETE_GLOBAL", _set_global),
            ("LOAD_ATTR LOAD_METHOD", _load_attribute),
            ("PUSH_NULL", _load_null),
            ("IMPORT_NAME", _import),
            ("IMPORT_FROM", _import_from),
            ("STORE_ATTR DELETE_ATTR STORE_SUBSCR DELETE_SUBSCR STORE_SLICE", _change),
            ("MAKE_FUNCTION", _make_function),
            ("SET_FUNCTION_ATTRIBUTE", _set_function_attribute),
            ("PRECALL", _before_call),
            ("CALL CALL_KW CALL_FUNCTION_EX", _call),
            ("BEFORE_WITH BEFORE_ASYNC_WITH", _enter),
            ("RETURN_VALUE", _return),
            ("BUILD_LIST BUILD_SET BUILD_TUPLE", _build),
            ("LIST_APPEND SET_ADD", _add),
            ("LIST_EXTEND SET_UPDATE", _extend),
            ("LIST_TO_TUPLE CALL_INTRINSIC_1", _to_tuple),
            ("GET_ITER", _iterate),
            ("FOR_ITER", _next),
            ("UNPACK_SEQUENCE UNPACK_EX", _unpack),
            ("BINARY_OP", _operate),
            ("SWAP", _swap),
            ("COPY", _copy),
        )
        for name in names.split()
    }
    """What is done for instructions that matter, by all their names from Python 3.11 on."""


def _place(instruction: Instruction, before: Place) -> Place:
    at = instruction.positions
    if at is None or at.lineno is None or at.end_lineno is None:
        return before
    return Place(at.lineno, at.end_lineno, at.col_offset, at.end_col_offset)


def _effect(instruction: Instruction) -> int:
    return dis.stack_effect(instruction.opcode, instruction.arg, jump=False)


def _resize(stack: list[Value], effect: int) -> None:
    if effect < 0:
        del stack[effect:]
    else:
        stack.extend([UNKNOWN] * effect)
