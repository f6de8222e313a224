"""Signatures, judged by the published `standardwebhooks` package."""

import base64
import secrets
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
from standardwebhooks.webhooks import WebhookVerificationError

from durably.engine.notifications.signing import Signer

BODY = '{"type":"run.failed","data":"ü"}'.encode()


def new_secret(size: int = 32) -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(size)).decode()


def headers(*secrets: str, at: datetime | None = None) -> dict[str, str]:
    seconds = int((at or datetime.now(UTC)).timestamp())
    return dict(Signer(secrets).headers("msg_1", seconds, BODY))


@pytest.mark.parametrize("size", [24, 32, 64])
def test_the_published_package_accepts_it(size: int) -> None:
    secret = new_secret(size)
    assert standardwebhooks.Webhook(secret).verify(BODY, headers(secret)) == {"type": "run.failed", "data": "ü"}


def test_the_example_of_the_specification() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the specification's
    signed = Signer([secret]).headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_secrets_are_replaced_receivers_with_either_accept_it() -> None:
    old, new = new_secret(), new_secret()
    for known in (old, new):
        standardwebhooks.Webhook(known).verify(BODY, headers(new, old))
    with pytest.raises(WebhookVerificationError):
        standardwebhooks.Webhook(new_secret()).verify(BODY, headers(new, old))


def test_what_was_changed_or_is_old_is_not_accepted() -> None:
    secret = new_secret()
    verifier, signed = standardwebhooks.Webhook(secret), headers(secret)
    changed = (
        (BODY + b" ", signed),
        (BODY, {**signed, "webhook-id": "msg_2"}),
        (BODY, {**signed, "webhook-timestamp": str(int(signed["webhook-timestamp"]) - 1)}),
        (BODY, headers(secret, at=datetime.now(UTC) - timedelta(minutes=6))),
    )
    for body, given in changed:
        with pytest.raises(WebhookVerificationError):
            verifier.verify(body, given)


def test_without_a_secret_there_is_no_signature() -> None:
    assert set(headers()) == {"webhook-id", "webhook-timestamp"}


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "secret", new_secret()[6:], new_secret(23), new_secret(65), "whsec_!!!!", new_secret() + "é"],
    ids=["empty", "prefix", "plain", "no prefix", "short", "long", "no base64", "no ascii"],
)
def test_secrets_that_cannot_be(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_ followed by 24 to 64 random bytes") as refused:
        Signer([secret])
    assert len(secret) < 8 or secret not in str(refused.value)
