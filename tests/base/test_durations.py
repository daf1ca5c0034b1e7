"""Times and sizes in words: what is rounded up fills the next unit."""

import pytest

from recipes.base.durations import format_duration, format_size
from recipes.report import formats


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 00 s"),
        (60, "1 min 00 s"),
        (119.4, "1 min 59 s"),
        (119.6, "2 min 00 s"),
        (185, "3 min 05 s"),
        (3599.4, "59 min 59 s"),
        (3599.7, "1 h 00 min"),
        (7199.6, "2 h 00 min"),
        (7800, "2 h 10 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_durations_in_words(seconds, text):
    assert format_duration(seconds) == formats.duration(seconds) == text


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_700, "1 MB"),
        (31_400_000, "31 MB"),
        (999_700_000, "1.00 GB"),
        (1_430_000_000, "1.43 GB"),
        (2_000_000_000_000, "2000.00 GB"),
    ],
)
def test_sizes_in_decimal_units(count, text):
    assert format_size(count) == formats.size(count) == text


def test_what_is_not_known_is_a_dash():
    assert formats.duration(None) == formats.size(None) == "–"
