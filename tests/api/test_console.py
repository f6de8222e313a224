"""Words for times and texts."""

import pytest

from durably.api.console import clean, how_long, one_line


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.0032, "3.2 ms"),
        (0.99, "990 ms"),
        (1.25, "1.25 s"),
        (59.4, "59.4 s"),
        (59.99, "60 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3_600, "1 h"),
        (7_500, "2 h 5 min"),
        (86_400 + 3_599, "1 d"),  # 59 minutes of a day are not told
        (6 * 86_400 + 23 * 3_600, "6 d 23 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert how_long(seconds) == words


def test_what_would_steer_the_terminal_is_replaced() -> None:
    assert clean("a\x1b[2Jb\r\nc\td\x9b") == "a�[2Jb�\nc\td�"
    assert one_line("first\nsecond\n") == "first ⏎ second"
    assert one_line("x" * 400, most=5) == "xxxxx…"
