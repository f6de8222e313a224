"""The mail that tells of a failed run."""

from collections.abc import Mapping, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from html import escape

from durably.engine.errors import ErrorInfo
from durably.engine.log.records import from_us
from durably.engine.notifications.message import Envelope, Message

__all__ = ["check_subject", "compose"]

MAX_SUBJECT = 200
MAX_ERROR = 4_000
MAX_CAUSES = 3


def compose(envelope: Envelope, sender: Address, to: Sequence[Address], subject: str) -> EmailMessage:
    """The mail: workflow, run, error, time and link, as text and as HTML. No input and no traceback is in it.

    Each attempt's has the same `Message-ID`, by which mail programs recognise it. `Auto-Submitted` keeps automatic
    answers away (RFC 3834).
    """
    message = envelope.open()
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = tuple(to)
    mail["Subject"] = _subject(subject, message)
    mail["Date"] = from_us(envelope.wall_us)
    mail["Message-ID"] = f"<{envelope.id}@{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    title, rows, link = _title(message), _rows(message), message.data.url
    mail.set_content(_text(title, rows, link))
    mail.add_alternative(_html(title, rows, link), subtype="html")
    return mail


def check_subject(subject: str) -> None:
    """Raise `ValueError` when a subject cannot be filled in."""
    try:
        _filled(subject, "", "", "")
    except (KeyError, IndexError, ValueError, AttributeError):
        raise ValueError(f"subject is {subject!r}; it can use {{workflow}}, {{run_id}} and {{error}}") from None


def _subject(subject: str, message: Message) -> str:
    failure = message.data
    if message.type == "run.failed":
        text = _filled(subject, failure.workflow, failure.run_id, str(failure.error))
    else:
        text = failure.error.message
    return _cut(" ".join(_clean(text).split()), MAX_SUBJECT)


def _filled(subject: str, workflow: str, run_id: str, error: str) -> str:
    return subject.format(workflow=workflow, run_id=run_id, error=error)


def _title(message: Message) -> str:
    if message.type == "run.failed":
        return f"A run of {_clean(message.data.workflow)} has failed."
    return "This is a test. Nothing has failed."


def _rows(message: Message) -> Mapping[str, str]:
    failure = message.data
    rows = {
        "Workflow": failure.workflow,
        "Run": failure.run_id,
        "Failed at": f"{message.timestamp:%Y-%m-%d %H:%M:%S} UTC",
        "Error": _cut(str(failure.error), MAX_ERROR),
    }
    causes = [_cut(str(cause), MAX_ERROR) for cause in _causes(failure.error)]
    if causes:
        rows["Caused by"] = "\n".join(causes)
    return {name: _clean(value) for name, value in rows.items()}


def _causes(error: ErrorInfo) -> Sequence[ErrorInfo]:
    """What is below an error and not yet in its message, as that of a step's failure is."""
    found: list[ErrorInfo] = []
    cause = error.cause
    while cause is not None and len(found) < MAX_CAUSES:
        if str(cause) not in error.message:
            found.append(cause)
        cause = cause.cause
    return found


def _text(title: str, rows: Mapping[str, str], link: str | None) -> str:
    lines = [f"{name + ':':<11} " + value.replace("\n", "\n" + " " * 12) for name, value in rows.items()]
    return "\n".join([title, "", *lines, *(("", link) if link else ()), ""])


def _html(title: str, rows: Mapping[str, str], link: str | None) -> str:
    cells = "".join(
        f'<tr><th align="left" valign="top">{escape(name)}</th>'
        f'<td><pre style="margin:0;white-space:pre-wrap">{escape(value)}</pre></td></tr>\n'
        for name, value in rows.items()
    )
    address = "" if link is None else f'<p><a href="{escape(link)}">{escape(link)}</a></p>\n'
    return f"<!DOCTYPE html>\n<html><body>\n<p>{escape(title)}</p>\n<table>\n{cells}</table>\n{address}</body></html>\n"


def _clean(text: str) -> str:
    """Without control characters, and without lone surrogates, which no encoding has."""
    return "".join(each if each.isprintable() or each == "\n" else _stand_in(each) for each in text)


def _stand_in(character: str) -> str:
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
