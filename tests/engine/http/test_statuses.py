import pytest

from durably.engine.http.statuses import Statuses, check_statuses, is_among


@pytest.mark.parametrize(
    ("status", "patterns", "expected"),
    [
        (200, ("2xx",), True),
        (299, ("2xx",), True),
        (302, ("2xx",), False),
        (404, ("2xx", "404"), True),
        (404, ("404",), True),
        (405, ("404",), False),
        (200, ("201",), False),
        (503, ("5xx",), True),
        (200, (), False),
    ],
)
def test_codes_and_classes(status: int, patterns: tuple[str, ...], expected: bool) -> None:
    assert is_among(status, patterns) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [("2xx", ("2xx",)), (201, ("201",)), ("5XX", ("5xx",)), (["2xx", 404], ("2xx", "404")), ({304}, ("304",))],
)
def test_they_are_kept_as_text(given: Statuses, expected: tuple[str, ...]) -> None:
    assert check_statuses(given) == expected


@pytest.mark.parametrize("given", ["", "ok", "2x", "6xx", 99, 600, [], ["2xx", "no"], True])
def test_others_are_refused(given: Statuses) -> None:
    with pytest.raises(ValueError, match=r"^success_status is .*; it must be a code from 100 to 599, a class from"):
        check_statuses(given)
