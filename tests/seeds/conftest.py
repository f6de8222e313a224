"""What the tests of the seeds share with those of the API and of notifications."""

from tests.api.conftest import launch
from tests.engine.notifications.conftest import serve_mail

__all__ = ["launch", "serve_mail"]
