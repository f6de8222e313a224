"""Durably: durable async workflows for Python.

Write an ordinary `async def`, call steps in it, and it survives crashes, deploys and month-long sleeps. Everything that
users need is imported from here; the packages beneath are not part of the contract.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from durably.engine.body.context import Context, current
from durably.engine.body.inside import (
    as_completed,
    continue_as_new,
    deprecate_patch,
    now,
    patched,
    publish,
    random,
    run_step,
    send_event,
    signal_run,
    sleep,
    sleep_until,
    start_child,
    uuid4,
    wait_for_event,
    wait_for_signal,
)
from durably.engine.declare.definitions import Step, Workflow, step, workflow
from durably.engine.declare.events import Cron, Event, Signal, Trigger
from durably.engine.engine import Engine
from durably.engine.errors import (
    ChildError,
    DurablyError,
    ErrorInfo,
    EventConflict,
    Forbidden,
    InvalidInput,
    NondeterminismError,
    NonRetriableError,
    NotBuilt,
    RetryAfterError,
    RunCanceled,
    RunConflict,
    RunFailed,
    RunNotFound,
    StepError,
    StoreError,
    TimedOut,
    WorkerLost,
)
from durably.engine.execution.follow import Message
from durably.engine.handle import Run
from durably.engine.log.history import History
from durably.engine.log.info import RunInfo
from durably.engine.notifications.email import Email
from durably.engine.notifications.failure import RunFailure
from durably.engine.notifications.webhook import Webhook
from durably.engine.retries.retry import Failure, GiveUp, Retry, RetryPolicy
from durably.engine.values.durations import Duration

if TYPE_CHECKING:
    from durably.api.client.client import Client
    from durably.api.client.errors import NoAnswer, NoServer
    from durably.api.client.handle import ClientRun
    from durably.api.client.sync import SyncClient, SyncRun
else:
    _CLIENTS = {
        "Client": "client",
        "ClientRun": "handle",
        "NoAnswer": "errors",
        "NoServer": "errors",
        "SyncClient": "sync",
        "SyncRun": "sync",
    }

    def __getattr__(name: str) -> object:
        """What needs an HTTP client is imported when it is asked for: a process that runs an engine may need none."""
        if name not in _CLIENTS:
            raise AttributeError(f"module 'durably' has no attribute {name!r}")
        return getattr(import_module(f"durably.api.client.{_CLIENTS[name]}"), name)


__all__ = [
    "ChildError",
    "Client",
    "ClientRun",
    "Context",
    "Cron",
    "DurablyError",
    "Duration",
    "Email",
    "Engine",
    "ErrorInfo",
    "Event",
    "EventConflict",
    "Failure",
    "Forbidden",
    "GiveUp",
    "History",
    "InvalidInput",
    "Message",
    "NoAnswer",
    "NoServer",
    "NonRetriableError",
    "NondeterminismError",
    "NotBuilt",
    "Retry",
    "RetryAfterError",
    "RetryPolicy",
    "Run",
    "RunCanceled",
    "RunConflict",
    "RunFailed",
    "RunFailure",
    "RunInfo",
    "RunNotFound",
    "Signal",
    "Step",
    "StepError",
    "StoreError",
    "SyncClient",
    "SyncRun",
    "TimedOut",
    "Trigger",
    "Webhook",
    "WorkerLost",
    "Workflow",
    "as_completed",
    "continue_as_new",
    "current",
    "deprecate_patch",
    "now",
    "patched",
    "publish",
    "random",
    "run_step",
    "send_event",
    "signal_run",
    "sleep",
    "sleep_until",
    "start_child",
    "step",
    "uuid4",
    "wait_for_event",
    "wait_for_signal",
    "workflow",
]
