"""analogseeker with a judge and a repair of the corpus: what is asked, what goes, where every row has gone."""

import json
from collections import Counter

import pytest

from data_builders.analogseeker import agent_plan, builder
from data_builders.analogseeker.proof import prove
from data_builders.core.ledger import unbalanced
from recipes.base.jsonl import read_jsonl
from tests.data_builders.test_builder_analogseeker import FILES, build, small
from tests.helpers.served import served, table
from tests.helpers.teacher_server import Server


@pytest.fixture(autouse=True)
def short_solutions(monkeypatch):
    """The stand-in's worked answers are one sentence behind their reasoning; the bill is told so."""
    monkeypatch.setattr(agent_plan, "SOLUTION_TOKENS", 12)


pytestmark = pytest.mark.slow

TESTS = {"knowledge": 6, "calculation": 0, "transfer": 4}
PRICES = {"price_in": 1.0, "price_out": 4.0, "price_date": "2026-11-01"}


def spec(url, **changes):
    asked = table(url, **changes).model_dump(exclude={"reply_tokens"})
    return small(
        teacher=asked | {"reply_tokens": 165}, repair=asked | {"words": 60}, judge=asked, rl_rows=10, tests=TESTS
    )


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    out = tmp_path_factory.mktemp("judged")
    with served(Server()) as url:
        metrics, rows = build(spec(url), out)
    return metrics, rows, out


def test_every_record_is_a_row_or_was_dropped_once_and_the_judge_has_its_place_in_the_ledger(clean):
    _, rows, out = clean
    card = json.loads((out / "card.json").read_text())
    steps = card["ledger"]
    assert prove(out) == len(rows["qtsa"]) == steps["records"]["kept"] == steps["judge"]["in"]
    assert steps["judge"]["kept"] == sum(steps[split]["in"] for split in ("sft", "rl", "knowledge", "transfer"))
    flow = json.loads((out / "card.json").read_text())["flow"]
    assert steps["judge"]["dropped"] > 0 and unbalanced(steps, flow) == []
    assert len(unbalanced(steps | {"judge": steps["judge"] | {"in": 1}}, flow)) == 2
    weak = [row for row in rows["ledger"] if row["step"] == "judge"]
    assert {row["reason"] for row in weak} <= {"judge: mean below 4", "judge: correct below 4"}
    assert {row["source"] for row in weak}.isdisjoint(
        row["lineage"]["record"] for name in ("sft", "rl", "test") for row in rows[name]
    )


def test_each_row_carries_the_score_and_the_question_to_the_judge(clean):
    _, rows, _ = clean
    for row in rows["sft"] + rows["rl"] + rows["test"]:
        assert 4 <= row["lineage"]["judge"] <= 5 and "judge" in row["lineage"]["filters"]
        assert len(row["lineage"]["requests"]) == 4
    scores = {row["id"]: row["judge"] for row in rows["qtsa"]}
    assert all(scores[row["lineage"]["record"]] == row["lineage"]["judge"] for row in rows["sft"])
    assert len(set(scores)) > len(rows["sft"] + rows["rl"] + rows["test"]), "what goes keeps its score too"


def test_the_card_names_judge_and_repair(clean):
    metrics, rows, out = clean
    card = json.loads((out / "card.json").read_text())
    assert card["judge"]["rubric"] == "judge/1 analogseeker/1" and card["judge"]["cut"] == 4.0
    assert sum(card["judge"]["scores"].values()) == len(rows["qtsa"])
    repairs = read_jsonl(out / "repair.jsonl")
    assert card["repair"]["chunks"]["ok"] == len(repairs) == metrics["repair"]["replies"] > len(rows["cpt"])
    assert {row["doc_id"] for row in repairs} == {row["node_id"] for row in rows["nodes"] if not row["flags"]}


def test_a_plan_counts_the_questions_of_repair_and_judge_within_a_fifth(clean):
    planned = spec("http://h/v1", **PRICES)
    bill, used = builder.forecast(planned, builder.corpus_dir(planned))["bill"], Counter()
    assert bill["requests"] == 4 * clean[0]["requests"] + clean[0]["repair"]["replies"]
    for name in ("teacher", "repair", "judge"):
        used.update({key: clean[0][name][key] for key in ("replies", "tokens_in", "tokens_out")})
    cost = (used["tokens_in"] * 1.0 + used["tokens_out"] * 4.0) / 1e6
    for foreseen, real in (
        (bill["requests"], used["replies"]),
        (bill["tokens_in"], used["tokens_in"]),
        (bill["tokens_out"], used["tokens_out"]),
        (bill["cost"], cost),
    ):
        assert abs(foreseen - real) <= 0.2 * real, (bill, used)


def test_failures_of_every_kind_change_no_byte(clean, tmp_path):
    server = Server(
        faults=0.1, seed=3, only=("429", "500", "cut", "invalid JSON", "wrong schema", "empty", "truncated")
    )
    with served(server) as url:
        build(spec(url), tmp_path / "out")
    for name in [*FILES, "repair.jsonl"]:
        assert (tmp_path / "out" / name).read_bytes() == (clean[2] / name).read_bytes(), name


def test_rules_restore_and_judge_offline_and_weak_records_go(tmp_path):
    metrics, rows = build(small(repair={}, judge={"cut": 4.7}), tmp_path)
    plain = builder.forecast(small(), builder.corpus_dir(small()))
    assert "bill" not in plain and "bill" not in builder.forecast(
        small(repair={}, judge={}), builder.corpus_dir(small())
    )
    assert metrics["sft"] > 20 and prove(tmp_path) == len(rows["qtsa"])
    assert all(row["lineage"]["judge"] >= 4.7 for row in rows["sft"] + rows["rl"] + rows["test"])
    assert all(row["judge"] >= 1 and row["judged"] == "" for row in rows["qtsa"])
    assert Counter(row["kind"] for row in rows["test"])["calculation"] == 10, "a derived number is supported"
    assert [row for row in rows["ledger"] if row["step"] == "judge"]


def test_without_the_two_tables_nothing_is_judged_or_restored(tmp_path):
    _, rows = build(small(), tmp_path)
    assert not (tmp_path / "repair.jsonl").exists()
    card = json.loads((tmp_path / "card.json").read_text())
    assert "judge" not in card and "repair" not in card and "judge" not in card["ledger"]
    assert all("judge" not in row["lineage"] for row in rows["sft"])
