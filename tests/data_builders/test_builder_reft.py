"""The reft data: generated and published problems, splits, chains and programs, determinism, the ledger."""

import io
import json
import re
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path

import pytest

from data_builders.core import arithmetic
from data_builders.core.ledger import Ledger
from data_builders.reft import builder, generated, published
from data_builders.reft.spec import Spec
from data_builders.sources.reader import count_tokens
from eval.graders import grade, grade_all
from eval.graders.reply import format_score
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl
from recipes.base.places import ROOT
from recipes.base.rows import dump_row
from recipes.base.runtime import Runtime
from recipes.lab.arithmetic import work

pytestmark = pytest.mark.slow  # whole data sets are built

REAL = ROOT.parent / "shared" / "data"
REAL = next((p for p in (REAL, ROOT.parent.parent / "shared" / "data") if p.is_dir()), REAL)
QUIET = Runtime(io.StringIO())
FILES = ["card.json", "leaks.json", "ledger.jsonl", "nodes.jsonl", "rl.jsonl", "sft.jsonl", "test.jsonl"]
SMALL = {"sft_rows": 240, "rl_rows": 160, "tests": {"problems": 90, "transfer": 40}}


def build(out, seed=42, **changes):
    out.mkdir(parents=True, exist_ok=True)
    spec = Spec.model_validate(changes)
    metrics = builder.build(spec, builder.corpus_dir(spec), out, seed, QUIET.bar, QUIET.say)
    rows = {name: read_jsonl(out / f"{name}.jsonl") for name in ("sft", "rl", "test", "nodes", "ledger")}
    return metrics, rows, json.loads((out / "card.json").read_text())


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    return build(tmp_path_factory.mktemp("shipped"))


def question(row):
    return row["prompt"][-1]["content"]


def values(row):
    return row["node_id"], tuple(sorted(row["lineage"]["values"].items()))


def test_the_shipped_problems_give_rows_of_the_promised_sizes(shipped):
    metrics, rows, card = shipped
    spec = Spec()
    assert (len(rows["sft"]), len(rows["rl"])) == (spec.sft_rows, spec.rl_rows) == (metrics["sft"], metrics["rl"])
    assert Counter(row["kind"] for row in rows["test"]) == {
        "problems": spec.tests.problems,
        "transfer": spec.tests.transfer,
    }
    assert len(card["families"]) >= 12 and len(card["held_out"]) >= 3 and card["leaks"]["passed"]
    assert "Limits" not in card["about"] and card["limits"].startswith("a generated problem")
    assert {row["node_id"] for row in rows["sft"] + rows["test"]} <= {node["node_id"] for node in rows["nodes"]}


def test_gold_scores_one_and_silence_nothing(shipped):
    for row in shipped[1]["test"] + shipped[1]["rl"]:
        assert (grade(row, row["reply"]), grade(row, ""), format_score(row["reply"])) == (1.0, 0.0, 1.0), row


def test_operations_are_those_of_the_chain_and_follow_the_mix(shipped):
    _, rows, _ = shipped
    for row in rows["test"]:
        line = row["reply"].partition("</think>")[0].partition(" = ")[2]
        assert row["difficulty"] == line.count(" = "), row["reply"]
        assert sum(line.partition(" = ")[0].count(f" {sign} ") for sign in "+-*/") == row["difficulty"]
    mix = Spec().mix
    for kind, size in (("problems", 300), ("transfer", 120)):
        found = Counter(row["difficulty"] for row in rows["test"] if row["kind"] == kind)
        for level, share in enumerate((mix.one, mix.two, mix.three, mix.four), 1):
            assert abs(found[level] - share * size) <= 1
    found = Counter(row["lineage"]["difficulty"] for row in rows["sft"])
    assert abs(found[4] - mix.four * len(rows["sft"])) <= 1


def test_every_family_has_problems_of_one_to_four_operations():
    found = defaultdict(set)
    for problem in generated.read_problems(builder.SHIPPED):
        found[problem.family].add(problem.difficulty)
        assert len(problem.wordings) == len(set(problem.wordings)) >= 4
    assert set(map(frozenset, found.values())) == {frozenset({1, 2, 3, 4})}


def test_the_chain_is_the_one_that_the_base_writes_and_every_number_is_whole(shipped):
    spec = Spec()
    for problem in generated.read_problems(builder.SHIPPED):
        for combination in generated.combinations(problem, 3, spec.largest, 1)[:3]:
            worked = generated.solve(problem, combination, 0, 1)
            steps = work(problem.expression, combination)
            assert worked.thinking == " = ".join([problem.result, *steps[1:]])
            assert all(0 < int(number) <= spec.largest for number in re.findall(r"[\d.]+", worked.thinking))
            assert worked.answer == steps[-1]
    assert max(len(row["prompt"][0]["content"].split()) for row in shipped[1]["test"]) <= 60


def test_values_of_the_test_occur_in_no_training_row_and_some_wordings_neither(shipped):
    _, rows, _ = shipped
    trained = rows["sft"] + rows["rl"]
    problems = [row for row in rows["test"] if row["kind"] == "problems"]
    assert {values(row) for row in trained}.isdisjoint({values(row) for row in rows["test"]})
    assert {question(row) for row in trained}.isdisjoint({question(row) for row in rows["test"]})
    wordings = {(row["node_id"], row["lineage"]["wording"]) for row in trained}
    new = [row for row in problems if not row["lineage"]["seen_wording"]]
    assert len(problems) / 3 < len(new) < 2 * len(problems) / 3
    assert wordings.isdisjoint({(row["node_id"], row["lineage"]["wording"]) for row in new})
    assert {row["family"] for row in problems} <= {row["family"] for row in trained}


def test_transfer_families_are_in_no_training_row(shipped):
    _, rows, card = shipped
    held = {row["family"] for row in rows["test"] if row["kind"] == "transfer"}
    assert held == set(card["held_out"]) and held.isdisjoint({row["family"] for row in rows["sft"] + rows["rl"]})


def test_reinforcement_asks_the_same_questions_or_fresh_ones_as_said(shipped, tmp_path):
    _, rows, _ = shipped
    assert {question(row) for row in rows["rl"]} <= {question(row) for row in rows["sft"]}
    _, rows, _ = build(tmp_path, rl_prompts="fresh", **SMALL)
    assert len(rows["rl"]) == SMALL["rl_rows"]
    assert {values(row) for row in rows["rl"]}.isdisjoint({values(row) for row in rows["sft"]})


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 42), ("b", 42), ("c", 43)):
        build(tmp_path / name, seed, **SMALL)
    for name in FILES:
        first, second = ((tmp_path / folder / name).read_bytes() for folder in "ab")
        assert first == second, name
    assert (tmp_path / "a" / "sft.jsonl").read_bytes() != (tmp_path / "c" / "sft.jsonl").read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == FILES


def test_the_ledger_accounts_for_every_candidate(shipped):
    _, rows, card = shipped
    for step, total in card["ledger"].items():
        assert total["in"] == total["kept"] + total["dropped"]
        assert total["dropped"] == sum(row["count"] for row in rows["ledger"] if row["step"] == step)
    assert card["ledger"]["sft"]["kept"] == len(rows["sft"])
    assert card["ledger"]["problems"]["kept"] + card["ledger"]["transfer"]["kept"] == len(rows["test"])


def test_the_forecast_is_what_the_build_makes(shipped):
    metrics, _, _ = shipped
    expected = builder.forecast(Spec(), builder.SHIPPED)
    assert {name: expected[name] for name in ("sft", "rl", "test", "nodes")} == {
        name: metrics[name] for name in ("sft", "rl", "test", "nodes")
    }
    assert abs(expected["tokens"] - metrics["tokens"]) < 0.05 * metrics["tokens"]


def test_programs_print_the_gold_answer(tmp_path):
    _, rows, card = build(tmp_path, chain="program", **SMALL)
    graded = rows["test"] + rows["rl"]
    assert {row["grader"] for row in graded} == {"program"} and card["chain"] == "program"
    assert set(grade_all(graded, [row["reply"] for row in graded])) == {1.0}
    assert set(map(format_score, (row["reply"] for row in graded))) == {1.0}
    # the plan before the program is the formula, not the worked chain
    assert {row["reply"].partition("</think>")[0].count("=") for row in graded} == {1}


def test_too_many_test_items_are_an_error_that_says_what_to_ask_for():
    with pytest.raises(RecipeError, match="too few test items") as caught:
        builder.forecast(Spec.model_validate({"tests": {"transfer": 5000}}), builder.SHIPPED)
    assert "data.tests.transfer" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("{count} {thing} at {price} EUR each", "{count} {thing} each"), "{price} stands 0 times"),
        (("{who} buys", "{somebody} buys"), "nothing to put for {somebody}"),
        (('expression = "count * price"', 'expression = "count * cost"'), "count * cost"),
        (('result = "cost"', 'outcome = "cost"'), "keys"),
    ],
)
def test_a_faulty_template_is_named(tmp_path, change, message):
    text = (builder.SHIPPED / generated.FILE).read_text(encoding="utf-8")
    (tmp_path / generated.FILE).write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        generated.read_problems(tmp_path)
    assert message in str(caught.value)


GSM8K = [
    {"question": "Tom has 1,000 nuts and 24 more. How many?", "answer": "1000+24=<<1000+24=1024>>1024\n#### 1,024"},
    {"question": "Half of 9 apples?", "answer": "9/2 = <<9/2=4.5>>4.5\nSo it is 4.5.\n#### 4.5"},
    {"question": "3 bags of 4, then 5 more?", "answer": "3*4=<<3*4=12>>12\n12+5=<<12+5=17>>17\n#### $17"},
    {"question": "No mark here?", "answer": "It is 3."},
    {"question": "Not a number?", "answer": "So it is.\n#### many"},
    {"question": "", "answer": "2\n#### 2"},
    {"question": "Tom has 1,000 nuts and 24 more.  How many?", "answer": "again\n#### 1024"},
    {"question": "A <answer>7</answer>?", "answer": "7\n#### 7"},
    {"other": 1},
]
LEAK = "A farmer who has 17 cows buys 25 more cows at the market in the spring and sells 9 of them. How many are left?"


def write_gsm8k(folder):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) for row in [*GSM8K, {"question": f"Now: {LEAK}", "answer": "33\n#### 33"}]]
    (folder / "train.jsonl").write_text("\n".join([*lines, "{broken"]) + "\n")
    test = [{"question": LEAK, "answer": "<<17+25-9=33>>33\n#### 33"}]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in test))
    return folder


def test_every_unusable_row_of_gsm8k_stands_in_the_ledger_with_its_reason(tmp_path):
    _, rows, card = build(tmp_path / "out", source=str(write_gsm8k(tmp_path / "in")))
    assert card["ledger"]["rows"] == {
        "in": 12,
        "kept": 6,
        "dropped": 6,
        "reasons": {
            'the answer has no "####"': 1,
            "the stated answer is not a number": 1,
            "empty question or chain": 1,
            "think or answer tag inside a field": 1,
            "neither a GSM8K nor a SVAMP row": 1,
            "line is not JSON": 1,
        },
    }
    assert card["ledger"]["records"]["reasons"] == {"exact duplicate": 1}
    assert card["ledger"]["decontaminate"]["reasons"] == {"13-gram overlap with a test item": 1}
    assert sorted(row["answer"] for row in rows["rl"]) == ["1024", "17", "4.5"]
    assert not any("<<" in row["completion"][0]["content"] for row in rows["sft"])
    assert [(row["kind"], row["answer"], row["difficulty"]) for row in rows["test"]] == [("gsm8k", "33", 1)]


def test_calculator_marks_become_a_program_that_uses_earlier_results():
    assert published._program([("3*4", "12"), ("12+5", "17")], "17") == "v1 = 3*4\nv2 = v1+5\nprint(v2)"
    assert published._program([("20%*50", "10"), ("050-10", "40")], "40").splitlines()[0] == "v1 = (20/100)*50"
    assert published._program([("3*4", "12")], "13") is None
    assert published._program([("3*y", "12")], "12") is None
    assert published._program([], "3") is None


@pytest.mark.parametrize(
    ("stated", "read"),
    [
        *((" 1,200 ", "1200"), ("$3.50", "3.5"), ("-7.", "-7"), ("51.0", "51"), (51.0, "51"), ("5%", "5")),
        *(("", None), (".", None), ("3/4", None), ("1e5", None), ("12 apples", None)),
    ],
)
def test_a_stated_answer_becomes_a_plain_decimal_or_nothing(stated, read):
    assert published.gold_number(stated) == read


def svamp_rows():
    for story in range(30):
        for ask, equation, answer in (
            ("How many are there?", f"( {story + 5}.0 + 2.0 )", story + 7.0),
            ("How many more?", f"( {story + 5}.0 - 2.0 )", story + 3.0),
        ):
            body = f"Jar {story} holds {story + 5} nuts and 2 stones"
            yield {"ID": "x", "Body": body, "Question": ask, "Equation": equation, "Answer": answer}


def test_svamps_own_file_is_divided_by_story(tmp_path):
    rows = [*svamp_rows(), next(svamp_rows()) | {"Answer": 99.0, "Question": "How many then?"}]
    (tmp_path / "SVAMP.json").write_text(json.dumps(rows))
    _, found, card = build(tmp_path / "out", source=str(tmp_path / "SVAMP.json"))
    assert card["ledger"]["rows"]["reasons"] == {"the equation does not give the stated answer": 1}
    trained, tested = ({row["node_id"] for row in found[name]} for name in ("sft", "test"))
    assert trained and tested and trained.isdisjoint(tested) and len(trained | tested) == 30
    reply = found["sft"][0]["completion"][0]["content"]
    assert re.fullmatch(r"<think>\d+ [+-] 2 = \d+</think>\nThe answer is \d+\.\n<answer>\d+</answer>", reply)
    assert question(found["sft"][0]).startswith("Jar ") and " stones. How many" in question(found["sft"][0])


def test_the_layouts_of_the_hub_are_read(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    import pyarrow

    def write(path, rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)

    rows = list(svamp_rows())
    rows = [row | {"Answer": f"{row['Answer']}", "question_concat": ""} for row in rows]
    write(tmp_path / "svamp" / "data" / "train-00000-of-00001-0f6b.parquet", rows[:40])
    write(tmp_path / "svamp" / "data" / "test-00000-of-00001-9a2c.parquet", rows[40:])
    _, found, _ = build(tmp_path / "a", source=str(tmp_path / "svamp"))
    assert (len(found["sft"]), len(found["test"])) == (40, 20)
    good = GSM8K[:3]
    for configuration in ("main", "socratic"):
        write(tmp_path / "gsm8k" / configuration / "train-00000-of-00001.parquet", good[:2])
        write(tmp_path / "gsm8k" / configuration / "test-00000-of-00001.parquet", good[2:])
    _, found, card = build(tmp_path / "b", source=str(tmp_path / "gsm8k"))
    assert (len(found["sft"]), len(found["test"]), card["ledger"]["rows"]["in"]) == (2, 1, 3)


def test_a_source_without_problems_is_an_error(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(RecipeError, match="gives no problems"):
        builder.forecast(Spec(source=str(tmp_path)), tmp_path)
    with pytest.raises(RecipeError, match="source is not there"):
        builder.corpus_dir(Spec(source="./nowhere/at/all"))


def real(name):
    if not (REAL / name).is_dir():
        pytest.skip(f"the real data set {name} is not here")
    return str(REAL / name)


@pytest.mark.parametrize("chain", ["natural", "program"])
def test_the_real_gsm8k(tmp_path, chain):
    ledger = Ledger()
    spec = Spec(source=real("gsm8k"), chain=chain, sft_rows=9999, rl_rows=9999)
    sft, _, tests = published.collect(spec, Path(spec.source), 42, ledger)
    total = ledger.totals()["rows"]
    assert total["in"] == 7473 + 1319 and len(tests["gsm8k"]) + len(sft) <= total["kept"]
    assert len(sft) > 0.9 * 7473 and len(tests["gsm8k"]) > 0.9 * 1319
    assert {w.id for w in sft}.isdisjoint({w.id for w in tests["gsm8k"]})
    assert all(arithmetic.text(Fraction(w.answer)) == w.answer and "<<" not in w.thinking for w in sft)
    if chain == "natural":
        assert total["dropped"] == 0 and max(count_tokens(w.thinking) for w in sft) < 700
    else:
        rows = [dump_row(builder.graded_row(w, "gsm8k", "program", 1e-6)) for w in tests["gsm8k"][:40]]
        assert set(grade_all(rows, [row["reply"] for row in rows])) == {1.0}


def test_the_real_svamp(tmp_path):
    _, rows, card = build(tmp_path, source=real("svamp"))
    total = card["ledger"]["rows"]
    assert total["in"] == 1000 and total["kept"] >= 990
    assert {row["node_id"] for row in rows["sft"]}.isdisjoint({row["node_id"] for row in rows["test"]})
    assert all(grade(row, row["reply"]) == 1.0 for row in rows["test"]) and len(rows["test"]) > 250
