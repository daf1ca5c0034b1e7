"""Whole builds of analogseeker against the test endpoint: the rows, the ledger, the bill, faults and kills."""

import io
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from data_builders.analogseeker import agent_plan, builder
from data_builders.analogseeker.spec import Spec
from recipes.artifacts import forecasts
from recipes.artifacts.steps import DataSpec
from recipes.base.runtime import Runtime
from recipes.stages import data
from tests.data_builders.test_builder_analogseeker import FILES, SMALL, build, small
from tests.helpers.served import served, table
from tests.helpers.teacher_server import PASSING, UNUSABLE, Server


@pytest.fixture(autouse=True)
def short_solutions(monkeypatch):
    """The stand-in's worked answers are one sentence behind their reasoning; the bill is told so."""
    monkeypatch.setattr(agent_plan, "SOLUTION_TOKENS", 12)


pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def asked(server):
    return Counter(line["what"] for line in server.lines)


def spec(url, **teacher):
    named = table(url, **teacher).model_dump() | {"reply_tokens": 165}
    tests = {"knowledge": 8, "calculation": 0, "transfer": 5}
    return small(teacher=named, rl_rows=10, tests=tests)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """(metrics, rows, folder) of a build against an endpoint that never fails."""
    out = tmp_path_factory.mktemp("clean")
    with served(Server()) as url:
        metrics, rows = build(spec(url), out)
    return metrics, rows, out


def test_a_build_makes_records_and_rows_that_name_where_they_are_from(clean):
    metrics, rows, _ = clean
    assert len({row["asked"][0] for row in rows["qtsa"]}) == len(rows["qtsa"]) > 30
    nodes = {row["node_id"] for row in rows["nodes"]}
    for row in rows["sft"] + rows["rl"] + rows["test"]:
        assert row["node_id"] in nodes and len(row["lineage"]["requests"]) == 3
        assert row["lineage"]["teacher"] == "openai:m" and "gates" in row["lineage"]["filters"]
        assert "answer/1" in row["lineage"]["prompts"]
    assert {row["kind"] for row in rows["sft"]} == {"mcq", "open"}
    assert {row["kind"] for row in rows["test"]} == {"knowledge", "transfer"}
    assert Counter(row["stance"] for row in rows["qtsa"]).keys() == {
        "concepts", "derivation", "design", "analysis", "limits",
    }  # fmt: skip
    letters = Counter(row["answer"] for row in rows["qtsa"] if row["kind"] == "mcq")
    assert set(letters) == set("ABCD")
    assert metrics["teacher"]["replies"] == 3 * metrics["requests"]


def test_the_ledger_of_a_build_adds_up(clean):
    metrics, rows, out = clean
    card = json.loads((out / "card.json").read_text())
    steps = card["ledger"]
    assert all(step["in"] == step["kept"] + step["dropped"] for step in steps.values())
    assert steps["replies"]["in"] == metrics["requests"] and steps["records"]["in"] == steps["replies"]["kept"]
    splits = ("sft", "rl", "knowledge", "transfer")
    assert steps["records"]["kept"] == sum(steps[split]["in"] for split in splits) == len(rows["qtsa"])
    assert steps["decontamination"]["in"] == steps["sft"]["kept"] + steps["rl"]["kept"]
    assert steps["decontamination"]["kept"] == len(rows["sft"]) + len(rows["rl"])


def test_the_bill_before_is_within_a_fifth_of_what_is_used(clean):
    metrics, _, _ = clean
    prices = {"price_in": 1.0, "price_out": 4.0, "price_date": "2026-11-01"}
    planned = spec("http://h/v1", **prices)
    bill, used = builder.forecast(planned, builder.corpus_dir(planned))["bill"], metrics["teacher"]
    cost = (used["tokens_in"] * 1.0 + used["tokens_out"] * 4.0) / 1e6
    for foreseen, real in (
        (bill["requests"], used["replies"]),
        (bill["tokens_in"], used["tokens_in"]),
        (bill["tokens_out"], used["tokens_out"]),
        (bill["cost"], cost),
    ):
        assert abs(foreseen - real) <= 0.2 * real, (bill, used)


def test_a_build_against_every_fault_gives_the_same_bytes_and_asks_nothing_twice(clean, tmp_path):
    server = Server(faults=0.12, seed=9)
    with served(server) as url:
        metrics, _ = build(spec(url, timeout=1.0), tmp_path / "out")
    kinds = asked(server)
    assert set(kinds) == {*PASSING, *UNUSABLE, "answered"}, "every fault was met"
    done = Counter(line["asked"] for line in server.lines if line["what"] in (*UNUSABLE, "answered"))
    late = metrics["teacher"]["counts"]["timeout"] - kinds["hung"]  # on a machine that is too busy for the time-out
    assert len(done) == metrics["teacher"]["counts"]["asked"] and sum(done.values()) <= len(done) + late
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (clean[2] / name).read_bytes(), name


@pytest.mark.slow
def test_a_build_killed_at_several_moments_ends_with_the_same_bytes(clean, tmp_path):
    script = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.data_builders.test_teacher_build import build, spec
build(spec(sys.argv[1], concurrency=4), Path({str(tmp_path / "out")!r}))
"""
    server = Server(latency=0.01)
    with served(server) as url:
        for moment in (25, 90):
            server.run_until_held([sys.executable, "-c", script, url], moment)
            assert not (tmp_path / "out" / "card.json").exists()
        server.hold_after = None
        metrics, _ = build(spec(url), tmp_path / "out")
    assert server.done <= metrics["teacher"]["replies"] + 2 * 4, "only what was on its way at a kill is asked again"
    assert metrics["teacher"]["counts"]["stored"] >= 90 - 2 * 4
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (clean[2] / name).read_bytes(), name


def test_the_data_stage_shares_replies_between_recipes_and_plan_shows_the_bill(tmp_path):
    def stage(seed, url, **teacher):
        return DataSpec(builder="analogseeker", data=spec(url, **teacher), seed=seed)

    server, runtime = Server(), Runtime(io.StringIO())
    runtime.runs = tmp_path
    with served(server) as url:
        inputs, prices = {"corpus": SMALL}, {"price_in": 1.0, "price_out": 4.0, "price_date": "2026-11-01"}
        work = data.forecast(stage(42, url, **prices), {}, tmp_path)
        assert "length of replies guessed for answer, post, question" in work.notes
        for name in ("a", "b"):
            out = tmp_path / name / "embedded" / "data.partial"
            out.mkdir(parents=True)
            metrics = data.run(stage(42, url, **prices), inputs, out, runtime)
            assert metrics["gold"] == metrics["test"] + metrics["rl"]
    assert metrics["teacher"]["counts"] == {"stored": server.done}, "the second recipe pays nothing"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [".replies.sqlite"]
    assert abs(work.cost - metrics["teacher"]["cost"]) <= 0.2 * work.cost and "tokens in" in work.notes
    again = data.forecast(stage(42, url, **prices | {"reply_tokens": 5000}), {}, tmp_path)
    assert abs(again.cost - metrics["teacher"]["cost"]) <= 0.1 * again.cost
    assert "length of replies as it was before" in again.notes
    assert f"${work.cost:.2f}" in "\n".join(forecasts.table([forecasts.Forecast("data", "new", work)]))


def test_another_seed_asks_few_new_questions(clean):
    with served(Server()) as url:
        metrics, _ = build(spec(url), clean[2], seed=43)
    assert metrics["teacher"]["counts"]["stored"] > 0.6 * metrics["teacher"]["replies"]


def test_only_what_decides_the_records_is_part_of_their_identity():
    fields = Spec.model_fields["teacher"].annotation.model_fields
    counted = {name for name, field in fields.items() if (field.json_schema_extra or {}).get("identity") is not False}
    longest = {"longest_question", "longest_answer", "longest_reply"}
    assert counted == {"kind", "model", "reasoner", "reasoning_tokens", "draws", *longest}
