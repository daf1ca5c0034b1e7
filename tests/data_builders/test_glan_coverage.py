"""The coverage benchmark: fresh sets cover more than sets that are asked again, whatever the number of questions."""

import pytest

from benchmarks.glan_coverage import AGAIN, WAYS, drawn, in_turns
from data_builders.glan.coverage import distinct
from tests.data_builders.test_glan_parts import course


@pytest.fixture(scope="module")
def figures():
    """{way: (concepts, pairs)} of 60 questions over two courses."""
    courses = [course(4, 4, 4), course(4, 4, name="d")]
    return {way: distinct([sample.concepts for sample in drawn(way, courses, 60, 42)]) for way in WAYS}


def test_fresh_sets_of_two_sessions_cover_the_most_pairs(figures):
    assert figures["fresh"][1] > 1.5 * figures["single"][1] > 1.5 * figures["one"][1]
    assert figures["fresh"][0] == figures["single"][0] == 20 > figures["repeated"][0] > figures["one"][0] == 5


def test_repeated_sets_come_ten_times_with_a_seed_of_their_own():
    samples = drawn("repeated", [course(4, 4)], 60, 42)
    assert len({sample.seed for sample in samples}) == 60
    assert len({(sample.syllabus_id, sample.number) for sample in samples}) == 60 // AGAIN


def test_disciplines_take_turns():
    assert in_turns([[1, 2], [3, 4]]) == [1, 3, 2, 4]
