"""Rows chosen by how well they stand for the others, or at random; nothing is lost between kept and dropped."""

from itertools import combinations
from math import e
from types import SimpleNamespace

import numpy as np
import pytest

from data_builders.core.ledger import Ledger
from recipes.artifacts.rows_context import RowsContext
from recipes.base.runtime import Runtime
from recipes.methods.select import facility_location, random

WORDS = (
    "amplifier gain stage",
    "bearing vibration fault",
    "enzyme binds substrate",
    "tax law court",
    "river valley rain",
)


def rows_of(groups, each):
    """`each` rows of each of the first `groups` fields, with words of their own."""
    return [
        {
            "id": f"{group}-{n}",
            "prompt": [{"role": "user", "content": f"{WORDS[group]} {WORDS[group].split()[n % 3]} q{n}"}],
            "completion": [{"role": "assistant", "content": WORDS[group]}],
        }
        for group in range(groups)
        for n in range(each)
    ]


def context(tmp_path, seed=0, load_model=None):
    return RowsContext(seed, {}, Ledger(), tmp_path, Runtime(), load_model)


def value(near, some):
    return near[:, list(some)].max(axis=1).astype(np.float64).sum()


@pytest.mark.parametrize("seed", range(6))
def test_greedy_choice_is_within_its_guarantee_of_the_best_subset(seed):
    vectors = np.random.default_rng(seed).normal(size=(10, 4))
    near = facility_location.similarities(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    for budget in (1, 2, 3, 4):
        chosen, reached = facility_location.choose(near, budget)
        best = max(value(near, some) for some in combinations(range(10), budget))
        assert len(chosen) == budget and reached == pytest.approx(value(near, chosen))
        assert best + 1e-9 >= reached >= (1 - 1 / e) * best
        assert reached == pytest.approx(best) or budget > 1


@pytest.mark.parametrize("seed", range(4))
def test_lazy_choice_is_plain_greedy_choice(seed):
    near = facility_location.similarities(np.random.default_rng(seed).normal(size=(30, 5)))
    chosen, _ = facility_location.choose(near, 12)
    plain: list[int] = []
    for _ in range(12):
        left = [place for place in range(30) if place not in plain]
        plain.append(max(left, key=lambda place: (round(value(near, [*plain, place]), 6), -place)))
    assert chosen == plain


def test_the_first_choices_hit_every_field_and_doubles_come_after_all_distinct_rows(tmp_path):
    rows = rows_of(5, 8)
    kept, dropped = facility_location.select(rows, facility_location.Config(keep=0.125), context(tmp_path))
    assert {row["id"][0] for row in kept} == set("01234") and len(kept) + len(dropped) == 40
    twice = [row | {"id": f"{row['id']}{copy}"} for row in rows_of(5, 1) for copy in "ab"]
    kept, dropped = facility_location.select(twice, facility_location.Config(keep=0.5), context(tmp_path))
    assert [row["id"] for row in kept] == [row["id"] for row in twice if row["id"].endswith("a")]
    assert {reason for _, reason in dropped} == {facility_location.REASON}


def test_blocks_share_the_budget_and_the_same_seed_gives_the_same_rows(tmp_path):
    rows = rows_of(5, 9)
    own = facility_location.Config(keep=0.3, block=10)
    runs = [facility_location.select(rows, own, context(tmp_path, seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert all(len(kept) == facility_location.count_rows(own, 45) == round(45 * 0.3) for kept, _ in runs)
    assert facility_location.share_out(7, [10, 10, 5]) == [3, 3, 1]
    assert sum(facility_location.share_out(13, [10, 10, 10, 10, 5])) == 13


def test_the_base_is_asked_for_only_where_it_embeds(tmp_path):
    from recipes.models import loader
    from tests.helpers.tiny_text import tiny_model

    assert facility_location.list_needs(facility_location.Config()) == ()
    own = facility_location.Config(keep=0.25, encoder="model")
    assert facility_location.list_needs(own) == ("base_model",)
    model = tiny_model(tmp_path / "base")
    given = context(tmp_path, load_model=lambda: (loader.load_base(model).eval(), loader.load_tokenizer(model)))
    kept, _ = facility_location.select(rows_of(4, 5), own, given)
    assert len(kept) == 5 and 0 < given.note["facility_location"]["coverage"] <= 1 + 1e-6
    texts = [facility_location.text_of(row) for row in rows_of(1, 3)]
    alone = facility_location.embed_by_model(texts[:1], given)
    assert np.allclose(facility_location.embed_by_model(texts, given)[0], alone[0], atol=1e-5)  # padding counts nothing


def test_random_selection_keeps_its_share_by_the_seed(tmp_path):
    rows = rows_of(5, 8)
    kept, dropped = random.select(rows, random.Config(keep=0.2), context(tmp_path))
    assert len(kept) == random.count_rows(random.Config(keep=0.2), 40) == 8 and len(dropped) == 32
    assert random.select(rows, random.Config(keep=0.2), context(tmp_path))[0] == kept
    assert random.select(rows, random.Config(keep=0.2), context(tmp_path, seed=3))[0] != kept
    assert [row for row in rows if row in kept] == kept


def test_texts_of_every_kind_of_row_are_read():
    assert facility_location.text_of({"text": "a book"}) == "a book"
    row = SimpleNamespace(**rows_of(1, 1)[0])
    assert WORDS[0] in facility_location.text_of(vars(row))
