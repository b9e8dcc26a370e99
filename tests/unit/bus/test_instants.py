"""Instants and their one text form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.instants import DAY, HOUR, MINUTE, SECOND, instant_from_text, instant_to_text

YEAR_9999_ENDS = 253_402_300_799_999


def test_instant_is_written_in_utc_with_milliseconds() -> None:
    """The form is RFC 3339 and always has three decimals."""
    assert instant_to_text(0) == "1970-01-01T00:00:00.000Z"
    assert instant_to_text(DAY + HOUR + MINUTE + SECOND + 5) == "1970-01-02T01:01:01.005Z"


@given(st.integers(min_value=0, max_value=YEAR_9999_ENDS))
def test_text_of_an_instant_reads_back_as_the_same_instant(instant: int) -> None:
    """Writing and reading are exact to the millisecond."""
    assert instant_from_text(instant_to_text(instant)) == instant


@given(st.lists(st.integers(min_value=0, max_value=YEAR_9999_ENDS), min_size=2, max_size=5))
def test_texts_sort_as_their_instants_do(instants: list[int]) -> None:
    """Text order is time order, so sorting by either is the same."""
    assert sorted(map(instant_to_text, instants)) == list(map(instant_to_text, sorted(instants)))


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-30T00:00:00.000Z",
        "2023-02-29T00:00:00.000Z",
        "2024-13-01T00:00:00.000Z",
        "2024-01-01T24:00:00.000Z",
        "2024-01-01T00:60:00.000Z",
    ],
)
def test_day_or_hour_that_does_not_exist_is_an_error(text: str) -> None:
    """Such texts pass the pattern on the wire, so reading them has to notice."""
    with pytest.raises(ValueError, match=r"time data|day is out of range|unconverted"):
        instant_from_text(text)
