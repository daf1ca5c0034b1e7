"""Test items in other words: found where the embedding can see them, and only where somebody asks for it."""

import json
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from data_builders.analogseeker.proof import prove
from data_builders.core.decontamination import remove_test_items
from data_builders.core.leaks import compare_question, compare_row
from data_builders.core.ledger import CLEANED, Ledger
from data_builders.core.paraphrases import Paraphrases, find_paraphrases
from tests.data_builders.test_builder_analogseeker import build, small
from tests.data_builders.test_leaks import KNOWLEDGE, calculation, training

pytestmark = pytest.mark.slow

ASKED = "Which voltage decides how much current flows through the upper device of a folded cascode stage?"
TURNED = "In a folded cascode stage, through the upper device, current flows: how much which voltage decides?"
MEANT = "What sets the drain flow in the top transistor there?"
OTHER = "Which metal carries supply lines across a chip with the least resistance of all?"
BENCHMARK = {"outside": [compare_question("b:1", ASKED)]}


def rows():
    return [training(text, name=name) for name, text in (("turned", TURNED), ("meant", MEANT), ("other", OTHER))]


@pytest.fixture
def encoder(monkeypatch):
    """A stand-in for sentence-transformers whose encoder knows that MEANT says what ASKED does."""
    module = types.ModuleType("sentence_transformers")

    class SentenceTransformer:
        def __init__(self, name):
            assert name == "small-encoder"

        def encode(self, texts, normalize_embeddings, show_progress_bar):
            assert normalize_embeddings and not show_progress_bar
            return np.array([[1.0, 0.0] if text in (ASKED, MEANT) else [0.0, 1.0] for text in texts], dtype="float32")

    module.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)


def kept(alike):
    ledger = Ledger()
    found, counts = remove_test_items(rows(), [], BENCHMARK, ledger, CLEANED, alike=alike)
    return [row.id for row in found], counts["outside"]["rows_removed"], ledger


def test_by_default_nothing_is_compared_by_meaning():
    assert kept(None)[:2] == (["turned", "meant", "other"], 0)


def test_a_planted_item_in_another_order_of_words_is_taken_out_with_its_reason():
    names, removed, ledger = kept(Paraphrases(cosine=0.7))
    assert names == ["meant", "other"] and removed == 1
    (drop,) = ledger.rows
    assert drop["reason"] == "holds an item of outside (paraphrase)" and drop["source"] == "turned"
    assert drop["detail"].startswith("b:1: 0.") and ASKED[:60] in drop["detail"]


def test_a_sentence_encoder_finds_a_planted_item_in_other_words(encoder):
    assert kept(Paraphrases(encoder="small-encoder"))[:2] == (["turned", "other"], 1)


def test_rows_of_the_very_fact_and_calculations_are_left_alone():
    alike, item = Paraphrases(cosine=0.2), compare_row(KNOWLEDGE)

    def found(question, tests, **fields):
        return find_paraphrases([compare_row(training(question, **fields))], tests, alike)

    assert found(item.question, [item])[0]["item"] == KNOWLEDGE.id
    assert found(item.question, [item], fact=KNOWLEDGE.fact_id) == []
    assert found(item.question, []) == [] == find_paraphrases([], [item], alike)
    template = compare_row(replace(KNOWLEDGE, grader="numeric", question=calculation(10, 2)))
    assert found(calculation(12, 3), [template]) == []
    running = compare_row({"text": item.question}, "text")
    assert find_paraphrases([running], [item], alike) == []


def test_a_build_accounts_for_the_rows_that_go(tmp_path):
    _, plain = build(small(), tmp_path / "plain")
    _, strict = build(small(paraphrases={"cosine": 0.4}), tmp_path / "strict")
    gone = [row for row in strict["ledger"] if row["reason"] == "holds an item of the test (paraphrase)"]
    assert gone and len(strict["sft"]) + len(strict["rl"]) == len(plain["sft"]) + len(plain["rl"]) - len(gone)
    prove(tmp_path / "strict")
    assert "paraphrase" not in json.dumps(plain["ledger"])
