"""Who asks, and whether they may: every request passes here before its handler sees it (CONTRACT section 7).

While no key was ever made, whoever reaches the server may do everything: it listens on loopback only, and answers to
no web page (`durably.api.origin`). From the first key on everything but `/health/*` needs one.
"""

from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from durably import Engine, Run, RunNotFound
from durably.api.errors import Problem
from durably.api.operations import operation_of
from durably.api.origin import check_origin
from durably.engine.access.administration import Administration, NotThere
from durably.engine.access.keys import KIND, Key, KeyRefused, Scope, covers
from durably.engine.access.reading import CurrentKeys

__all__ = [
    "Principal",
    "administration_of",
    "authentication",
    "chosen_home",
    "find_run",
    "home_of",
    "principal_of",
    "visible",
]

EVENTS_WITH_KEY = "/e/{key}"
CHALLENGE = 'Bearer realm="durably"'


class Principal(NamedTuple):
    """Who a request is from."""

    name: str
    scope: Scope
    environment: str | None = None
    """What they see, and may do something to; None: all environments."""
    home: str | None = None
    """The environment of what they start and send; None: the engine's own."""


NOWHERE = ("",)
"""A filter by environment that nothing fits: none is called so."""
PRINCIPAL = web.RequestKey("principal", Principal)
ANYBODY = Principal("anybody", "admin")
"""Who asks while there are no keys."""


def authentication(engine: Engine) -> Middleware:
    """The layer that finds out who asks, and refuses who may not."""
    keys = CurrentKeys(lambda: engine.core.store.documents(KIND))

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        operation = operation_of(request)
        if operation is None or operation.scope != "open":
            known = await keys.get()
            if known.configured:
                try:
                    key = known.check(_shown(request), engine.core.clock.now_us())
                except KeyRefused as error:
                    raise _unknown(str(error), f'{CHALLENGE}, error="invalid_token"') from None
                principal = _principal(key)
                if operation is not None and not covers(key.scope, operation.scope):
                    raise _forbidden(principal, operation.scope)
            else:
                check_origin(request)
                principal = ANYBODY
            request[PRINCIPAL] = principal
        return await handler(request)

    return authenticate


def _shown(request: web.Request) -> str:
    """The key that a request shows: in the header or, where events are sent, in the address."""
    header = request.headers.get("Authorization")
    if header is None:
        operation = operation_of(request)
        if operation is not None and operation.path == EVENTS_WITH_KEY:
            return request.match_info["key"]
        raise _unknown("this server wants an API key: send it as Authorization: Bearer dk_…", CHALLENGE)
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "bearer":
        raise _unknown("the Authorization header is of another kind than Bearer: send Bearer dk_…", CHALLENGE)
    return text.strip()


def _principal(key: Key) -> Principal:
    return Principal(key.name, key.scope, None if key.scope == "admin" else key.environment, key.environment)


def _unknown(detail: str, challenge: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})


def _forbidden(principal: Principal, needed: str) -> Problem:
    detail = f"this needs a key with scope {needed}, and key {principal.name!r} has scope {principal.scope}"
    challenge = f'{CHALLENGE}, error="insufficient_scope", scope="{needed}"'
    return Problem(403, "forbidden", detail, headers={"WWW-Authenticate": challenge}, meta={"scope": needed})


# -- for handlers


def principal_of(request: web.Request) -> Principal:
    """Who asks."""
    return request[PRINCIPAL]


def home_of(request: web.Request, engine: Engine) -> str:
    """The environment of what this request starts."""
    return principal_of(request).home or engine.settings.environment


async def chosen_home(request: web.Request, engine: Engine, asked: str | None) -> str:
    """The same where a request may name another one. 403 for one that the key does not see, 400 for one unknown."""
    own, default = principal_of(request).environment, home_of(request, engine)
    if asked is None or asked == default:
        return default
    if own is not None:
        raise Problem(403, "forbidden", f"this key is for environment {own!r} only", pointer="/environment")
    try:
        return (await administration_of(engine).environment(asked)).name
    except NotThere as error:
        raise Problem(400, "invalid_input", str(error), pointer="/environment") from None


def visible(request: web.Request, asked: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The environments that a list is to show, `()` for all, given those that are asked for, `()` for any."""
    own = principal_of(request).environment
    if own is None:
        return asked
    return (own,) if not asked or own in asked else NOWHERE


async def find_run(request: web.Request, engine: Engine, run_id: str) -> Run[Any]:
    """The run with this id. Raises `RunNotFound` also when it belongs to an environment that the key does not see."""
    run = await engine.get_run(run_id)
    own = principal_of(request).environment
    if own is not None:
        row = await engine.core.store.run(run_id)
        if row is None or row.environment != own:
            raise RunNotFound(run_id)
    return run


def administration_of(engine: Engine) -> Administration:
    """Who makes and withdraws keys and environments of a running engine."""
    core = engine.core
    return Administration(core.documents, core.clock.now_us, core.randomness)
