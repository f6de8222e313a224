"""Whether the engine behind the API can take work, and the refusal when it cannot."""

from durably import DurablyError, Engine
from durably.api.errors import RETRY_AFTER, Problem

__all__ = ["refuse_work", "unavailable", "why_unavailable"]


def why_unavailable(engine: Engine) -> str | None:
    """Why nothing new can be taken in just now; None when all is well."""
    try:
        core = engine.core
    except DurablyError:
        return "the engine is not running"
    if core.draining:
        return "the engine is stopping"
    if core.failed.done():
        return "the engine has failed and must be restarted; its log says why"
    if core.journal.failure is not None:
        return f"the store cannot be written just now: {core.journal.failure}"
    return None


def unavailable(why: str) -> Problem:
    """503 with `Retry-After`."""
    return Problem(503, "unavailable", f"{why}; try again later", headers=RETRY_AFTER)


def refuse_work(engine: Engine) -> None:
    """Refuse, with 503, what would have to be stored and cannot be, or would have to wait (DESIGN rule 3)."""
    why = why_unavailable(engine)
    if why is not None:
        raise unavailable(why)
    if engine.intake.full:
        raise unavailable("the queue of what is to be stored is full")
