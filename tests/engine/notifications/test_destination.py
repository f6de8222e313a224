import pytest

from durably.engine.notifications.destination import NotDelivered, check_destinations
from durably.engine.notifications.email import Email
from durably.engine.notifications.webhook import Webhook

SMTP = "smtp://mail.example"


def test_ids_follow_from_kind_and_address_or_are_chosen() -> None:
    assert Webhook("https://a.example/1").id == Webhook("https://a.example/1", headers={"X": "y"}).id
    assert Webhook("https://a.example/1").id != Webhook("https://a.example/2").id
    assert Webhook("https://a.example/1", name="pager").id == "pager"
    email = Email("ops@a.example", sender="d@a.example", smtp_url=SMTP)
    assert email.id == Email("Ops <ops@a.example>", sender="e@a.example", smtp_url=SMTP).id
    assert email.id.startswith("email-")


def test_an_id_does_not_show_the_address() -> None:
    assert "s3cr3t" not in Webhook("https://a.example/s3cr3t").id


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a b", "é", "a" * 65, "a\n"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match="name is"):
        Webhook("https://a.example", name=name)


def test_what_notify_takes() -> None:
    hook = Webhook("https://a.example")
    email = Email("ops@a.example", sender="d@a.example", smtp_url=SMTP)
    assert check_destinations([hook, email]) == (hook, email)
    assert check_destinations(()) == ()
    with pytest.raises(TypeError, match=r"Email\(…\) and Webhook\(…\), and 'ops@a.example' is neither"):
        check_destinations(["ops@a.example"])
    with pytest.raises(ValueError, match=f"two destinations with the id '{hook.id}'"):
        check_destinations([hook, Webhook("https://a.example")])
    assert len(check_destinations([hook, Webhook("https://a.example", name="again")])) == 2


def test_a_reason_is_one_line_of_bounded_length() -> None:
    reason = str(NotDelivered("a\r\nb\x1b[31m\x00  c" + "d" * 1000))
    assert reason.startswith("a b [31m cd")
    assert reason.isprintable()
    assert len(reason) == 301
