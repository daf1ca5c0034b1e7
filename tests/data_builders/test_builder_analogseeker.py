"""The analogseeker data as a whole: rows, splits, determinism, resume, and clear errors."""

import io
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from data_builders.analogseeker import builder
from data_builders.analogseeker.expert import Expert
from data_builders.analogseeker.proof import prove
from data_builders.analogseeker.spec import Spec
from eval.graders import grade
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl, write_json, write_jsonl
from recipes.base.reply_form import render_prompt, render_reply
from recipes.base.rows import read_exchange
from recipes.base.runtime import Runtime
from recipes.models.prompt_order import check_order, drawn, form

pytestmark = pytest.mark.slow  # whole data sets are built

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "fixtures" / "small_corpus"
TEXTBOOK = ROOT / ".." / "shared" / "data" / "analog_textbook"
FILES = [
    "card.json",
    "cpt.jsonl",
    "leaks.json",
    "ledger.jsonl",
    "nodes.jsonl",
    "qtsa.jsonl",
    "rl.jsonl",
    "sft.jsonl",
    "test.jsonl",
]


def small(**changes):
    base = {
        "corpus": str(SMALL),
        "min_tokens": 5,
        "tests": {"knowledge": 8, "calculation": 10, "transfer": 5},
        "rl_rows": 60,
    }
    return Spec.model_validate(base | changes)


def build(spec, out, seed=42, say=lambda text: None):
    out.mkdir(parents=True, exist_ok=True)
    metrics = builder.build(spec, builder.corpus_dir(spec), out, seed, Runtime(io.StringIO()).bar, say)
    return metrics, {
        name: read_jsonl(out / f"{name}.jsonl") for name in ("sft", "rl", "test", "qtsa", "nodes", "cpt", "ledger")
    }


@pytest.fixture(scope="module")
def shipped_files(tmp_path_factory):
    return tmp_path_factory.mktemp("shipped")


@pytest.fixture(scope="module")
def shipped(shipped_files):
    out = shipped_files
    metrics, rows = build(Spec(), out)
    return metrics, rows, json.loads((out / "card.json").read_text())


def test_choices_are_answered_by_letter_where_the_recipe_says_so(tmp_path):
    _, words = build(small(), tmp_path / "words")
    _, letters = build(small(answer_as="letter"), tmp_path / "letter")
    choices = 0
    for name in ("sft", "rl", "test"):
        assert [row["id"] for row in letters[name]] == [row["id"] for row in words[name]]
        for row, plain in zip(letters[name], words[name], strict=True):
            reply = row.get("reply") or row["completion"][0]["content"]
            assert "grader" not in row or grade(row, reply) == 1.0
            if contents(plain).endswith("Give the right option in <answer> tags."):
                choices += 1
                assert contents(row).endswith("Give the letter of the right option in <answer> tags.")
                assert reply.endswith(f"<answer>{row['answer']}</answer>") and len(row["answer"]) == 1
            else:
                assert row["prompt"] == plain["prompt"] and reply == (
                    plain.get("reply") or plain["completion"][0]["content"]
                )
    assert choices > 20


def contents(row):
    return row["prompt"][-1]["content"]


def test_the_shipped_corpus_gives_rows_of_the_promised_sizes(shipped):
    metrics, rows, card = shipped
    assert 2500 <= len(rows["sft"]) <= 4000 and len(rows["rl"]) >= 1500
    kinds = Counter(row["kind"] for row in rows["test"])
    assert kinds == {"knowledge": 300, "calculation": 300, "transfer": 100}
    assert (metrics["sft"], metrics["rl"], metrics["test"]) == (len(rows["sft"]), len(rows["rl"]), 700)
    shares = Counter(row["kind"] for row in rows["sft"])
    assert {kind: round(count / len(rows["sft"]), 2) for kind, count in shares.items()} == {
        "mcq": 0.45,
        "open": 0.2,
        "calc": 0.35,
    }
    assert card["rows"]["test_knowledge"] == 300 and card["leaks"]["passed"] and len(card["families"]) >= 12
    assert "Limits" not in card["about"] and card["limits"].startswith("the expert teacher")


def test_gold_scores_one_and_silence_nothing_for_every_row(shipped):
    _, rows, _ = shipped
    for row in rows["test"] + rows["rl"]:
        assert (grade(row, row["reply"]), grade(row, "")) == (1.0, 0.0), row


def test_prompts_and_replies_have_the_exact_form(shipped):
    _, rows, _ = shipped
    for row in rows["test"] + rows["rl"] + rows["sft"]:
        lines = contents(row).split("\n")
        choice = row.get("options") or row["kind"] == "mcq"
        assert lines[-1] == (
            "Give the right option in <answer> tags." if choice else "Give the final answer in <answer> tags."
        )
        assert [line[:3] for line in lines[1:-1]] == (["A) ", "B) ", "C) ", "D) "] if choice else [])
        assert len(row["prompt"]) == 1 and row["prompt"][0]["role"] == "user"
    for row in rows["sft"]:
        reply = row["completion"][0]["content"]
        assert reply.startswith("<think>") and reply.count("</think>\n") == 1 and reply.endswith("</answer>")


def test_rows_have_unique_ids_lineage_and_even_letters(shipped):
    _, rows, card = shipped
    for name in ("sft", "rl", "test"):
        assert len({row["id"] for row in rows[name]}) == len(rows[name])
    requests = {row["request"] for row in rows["qtsa"]}
    assert all(set(row["lineage"]["requests"]) <= requests for row in rows["sft"] + rows["rl"] + rows["test"])
    letters = Counter(row["answer"] for row in rows["qtsa"] if row["kind"] == "mcq")
    assert set(letters) == set("ABCD") and min(letters.values()) > 0.8 * max(letters.values())
    assert min(card["letters"].values()) > 0.15 * sum(card["letters"].values())


@pytest.fixture(scope="module")
def three_forms(tmp_path_factory):
    return build(small(rl_forms=True), tmp_path_factory.mktemp("forms"))


def test_the_same_rl_items_are_asked_as_yes_or_no_as_a_choice_and_openly(three_forms):
    """The curriculum of Curr-ReFT, arXiv 2503.07065: `rl.order = "kind"` puts the three forms in its order."""
    _, rows = three_forms
    check_order(rows["rl"], "kind")
    assert Counter(form(row) for row in rows["rl"]) == {0: 20, 1: 20, 2: 20}  # rl_rows = 60
    stems = defaultdict(set)
    for row in rows["rl"]:
        stems[contents(row).split("\n")[0].split(" Proposed answer: ")[0]].add(form(row))
    assert all(forms == {0, 1, 2} for forms in stems.values()) and len(stems) == 20
    ordered = drawn(rows["rl"], "kind", 60, seed=1)
    assert [form(row) for row in ordered] == [0] * 20 + [1] * 20 + [2] * 20


def test_the_gold_reply_of_each_form_scores_one_and_a_perturbed_one_nothing(three_forms):
    _, rows = three_forms
    by_stem = {contents(row).split("\n")[0]: row for row in rows["rl"] if row["options"]}
    said = Counter()
    for row in rows["rl"]:
        assert (grade(row, row["reply"]), grade(row, "")) == (1.0, 0.0)
        if row["answer"] in ("yes", "no"):
            other = {"yes": "no", "no": "yes"}[row["answer"]]
            assert grade(row, row["reply"].replace(f"<answer>{row['answer']}", f"<answer>{other}")) == 0.0
            stem, proposed = contents(row).split("\n")[0].split(" Proposed answer: ")
            choice = by_stem[stem]
            right = choice["options"]["ABCD".index(choice["answer"])]
            proposed = proposed.removesuffix(". Is this right, yes or no?")
            assert proposed in choice["options"] and (proposed == right) == (row["answer"] == "yes")
            said[row["fact_id"], row["answer"]] += 1
    facts = {fact for fact, _ in said}
    assert all(abs(said[fact, "yes"] - said[fact, "no"]) <= 1 for fact in facts)


def test_three_forms_change_no_other_rows_and_are_off_by_default(three_forms, tmp_path):
    _, rows = three_forms
    _, plain = build(small(), tmp_path)
    assert rows["sft"] == plain["sft"] and rows["test"] == plain["test"]
    assert {form(row) for row in plain["rl"]} == {2} and len(plain["rl"]) == 60
    with pytest.raises(ValueError, match="a model writes each record in one form"):
        small(rl_forms=True, teacher={"kind": "openai", "model": "m", "base_url": "http://localhost:1/v1"})


def test_transfer_nodes_are_held_out_whole_and_spread_over_families(shipped):
    _, rows, card = shipped
    held = {node["node_id"] for node in card["held_out"]}
    assert 5 <= len(held) <= 9 and len({node["family"] for node in card["held_out"]}) == len(held)
    assert {row["node_id"] for row in rows["test"] if row["kind"] == "transfer"} <= held
    assert not held & {row["node_id"] for name in ("sft", "rl", "cpt") for row in rows[name]}
    assert not held & {row["node_id"] for row in rows["test"] if row["kind"] != "transfer"}
    graders = Counter(row["grader"] for row in rows["test"] if row["kind"] == "transfer")
    assert graders["choice"] >= 40 and graders["numeric"] >= 40


def test_tested_wordings_and_tested_values_never_occur_in_training(shipped):
    _, rows, _ = shipped
    trained, tested = defaultdict(set), defaultdict(set)
    for row in rows["qtsa"]:
        if row["kind"] == "calc":
            (tested if row["split"] == "calculation" else trained)[row["fact_id"]].add(row["thinking"])
        elif row["operations"] == 0 and row["split"] != "transfer":
            (tested if row["split"] == "knowledge" else trained)[row["fact_id"]].add(row["question"])
    assert len(tested) > 250
    assert all(not tested[fact] & trained[fact] for fact in tested)
    seen = {row["fact_id"] for row in rows["sft"]}
    assert {row["fact_id"] for row in rows["test"] if row["kind"] != "transfer"} <= seen


def test_rl_covers_every_seen_formula_evenly(shipped):
    _, rows, _ = shipped
    counts = Counter(row["fact_id"] for row in rows["rl"])
    assert {row["grader"] for row in rows["rl"]} == {"numeric"}
    assert len(counts) >= 55 and max(counts.values()) <= 2 * min(counts.values())
    assert {row["difficulty"] for row in rows["rl"]} >= {1, 2, 3}


def test_the_ledger_accounts_for_every_request_and_row(shipped):
    metrics, rows, card = shipped
    assert all(step["in"] == step["kept"] + step["dropped"] for step in card["ledger"].values())
    assert card["ledger"]["replies"]["in"] == metrics["requests"]
    assert (
        card["ledger"]["records"]["kept"]
        == len(rows["qtsa"])
        == card["ledger"]["sft"]["in"]
        + card["ledger"]["rl"]["in"]
        + sum(card["ledger"][kind]["in"] for kind in ("knowledge", "calculation", "transfer"))
    )
    written = Counter()
    for row in rows["ledger"]:
        written[row["step"]] += row["count"]
    assert written == {step: total["dropped"] for step, total in card["ledger"].items() if total["dropped"]}


def test_every_record_is_proved_to_be_one_row_or_to_have_been_dropped_once(shipped, shipped_files):
    assert prove(shipped_files) == len(read_jsonl(shipped_files / "qtsa.jsonl")) > 6000


@pytest.mark.parametrize("fault", ["row lost", "row twice", "reason lost", "row from nowhere", "sum"])
def test_a_ledger_that_does_not_add_up_is_found(shipped, shipped_files, tmp_path, fault):
    for name in ("card.json", "ledger.jsonl", "qtsa.jsonl", "sft.jsonl", "rl.jsonl", "test.jsonl"):
        (tmp_path / name).write_bytes((shipped_files / name).read_bytes())
    sft, ledger = (read_jsonl(tmp_path / f"{name}.jsonl") for name in ("sft", "ledger"))
    if fault == "row lost":
        write_jsonl(tmp_path / "sft.jsonl", sft[1:])
    elif fault == "row twice":
        write_jsonl(tmp_path / "sft.jsonl", [*sft[1:], sft[1]])
    elif fault == "row from nowhere":
        write_jsonl(tmp_path / "sft.jsonl", [*sft[1:], sft[0] | {"lineage": {"record": "nobody"}}])
    elif fault == "reason lost":
        write_jsonl(tmp_path / "ledger.jsonl", [row for row in ledger if row["step"] != "sft"])
    else:
        card = json.loads((tmp_path / "card.json").read_text())
        card["ledger"]["records"]["kept"] -= 1
        write_json(tmp_path / "card.json", card)
    with pytest.raises(RecipeError, match="does not add up"):
        prove(tmp_path)


def test_a_benchmark_named_in_the_table_takes_its_items_out_of_training(shipped, shipped_files, tmp_path):
    taught = next(row for row in shipped[1]["sft"] if row["kind"] == "open" and len(contents(row).split()) > 16)
    question, theirs = contents(taught).split("\n")[0], str(tmp_path / "theirs.jsonl")
    passage = read_jsonl(shipped_files / "cpt.jsonl")[3]
    items = [{"question": question}, {"question": " ".join(passage["text"].split()[20:40])}]
    Path(theirs).write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    _, rows = build(Spec(benchmarks=(theirs,)), tmp_path / "out")
    assert question in {contents(row).split("\n")[0] for row in shipped[1]["sft"]}
    assert question not in {contents(row).split("\n")[0] for row in rows["sft"]}
    drops = [row for row in rows["ledger"] if row["step"] == "decontamination"]
    assert drops and all(row["reason"].startswith(f"holds an item of {theirs}") for row in drops)
    leaks = json.loads((tmp_path / "out" / "leaks.json").read_text())
    assert leaks["passed"] and leaks["benchmarks"][theirs]["sft"]["rows_removed"] == len(drops)
    left = {json.loads(line)["id"] for line in (tmp_path / "out" / "cpt.jsonl").read_text().splitlines()}
    assert passage["id"] not in left and leaks["benchmarks"][theirs]["cpt"]["rows_removed"] >= 1


def test_a_row_holds_the_fields_of_its_record(shipped):
    _, rows, _ = shipped
    records = {row["request"]: row for row in rows["qtsa"]}
    fields = ("question", "options", "thinking", "solution", "answer")
    for row in rows["sft"] + rows["rl"] + rows["test"]:
        record = records[row["lineage"]["requests"][0]]
        assert [row[name] for name in fields] == [record[name] for name in fields]


def test_what_a_file_shows_is_what_the_renderer_makes_of_its_fields(shipped):
    _, rows, _ = shipped
    for row in rows["sft"] + rows["rl"] + rows["test"]:
        exchange = read_exchange(row)
        assert row["prompt"] == [{"role": "user", "content": render_prompt(exchange)}]
        reply = row["completion"][0]["content"] if "completion" in row else row["reply"]
        assert reply == render_reply(exchange)


def test_bytes_are_the_same_in_another_process_and_differ_with_the_seed(tmp_path):
    build(small(), tmp_path / "a")
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path\n"
        "from tests.data_builders import test_builder_analogseeker as t\n"
        f"t.build(t.small(), Path({str(tmp_path / 'b')!r}))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    build(small(), tmp_path / "c", seed=43)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == FILES
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert (tmp_path / "a" / "sft.jsonl").read_bytes() != (tmp_path / "c" / "sft.jsonl").read_bytes()


def test_an_interrupted_build_is_made_again_with_the_same_bytes(tmp_path, monkeypatch):
    build(small(), tmp_path / "whole")
    ask = Expert.ask

    def stopping(self, requests, arrived):
        for count, reply in enumerate(ask(self, requests, arrived)):
            if count == 50:
                raise KeyboardInterrupt
            yield reply

    monkeypatch.setattr(Expert, "ask", stopping)
    with pytest.raises(KeyboardInterrupt):
        build(small(), tmp_path / "part")
    monkeypatch.setattr(Expert, "ask", ask)
    build(small(), tmp_path / "part")
    for name in FILES:
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_the_forecast_is_close_to_what_is_built(shipped):
    metrics, _, _ = shipped
    expected = builder.forecast(Spec(), builder.corpus_dir(Spec()))
    assert expected["nodes"] == metrics["nodes"]
    for name in ("requests", "sft", "rl", "test", "cpt", "tokens"):
        assert abs(expected[name] - metrics[name]) <= 0.05 * metrics[name], name
    assert expected["rows"] == expected["sft"] + expected["rl"] + expected["test"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"tests": {"knowledge": 5000, "calculation": 10, "transfer": 5}},
            ["too few knowledge", "data.tests.knowledge", "5000", "set data"],
        ),
        (
            {"tests": {"knowledge": 8, "calculation": 5000, "transfer": 5}},
            ["too few calculation", "data.tests.calculation"],
        ),
        ({"tests": {"knowledge": 8, "calculation": 10, "transfer": 5000}}, ["too few transfer", "data.tests.transfer"]),
        ({"corpus": "/no/such/folder"}, ["does not exist", "/no/such/folder", "data.corpus"]),
    ],
)
def test_what_cannot_be_built_is_a_clear_error(tmp_path, changes, words):
    with pytest.raises(RecipeError) as error:
        build(small(**changes), tmp_path)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_leaks_above_the_threshold_stop_the_build_and_stay_on_disk(tmp_path):
    for path in SMALL.iterdir():
        planted = re.sub(
            r'(questions = \[\n  "(?!.*givens)(.*)\?",\n(?:.*\n){3}  ").*(",\n)', r"\1\2\3", path.read_text()
        )
        (tmp_path / path.name).write_text(planted)
    (tmp_path / "out").mkdir()
    with pytest.raises(RecipeError, match="hold test items"):
        build(small(corpus=str(tmp_path)), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "leaks.json").read_text())["counts"]["normalised"]["pairs"] > 0
    assert not (tmp_path / "out" / "sft.jsonl").exists()


def test_a_corpus_without_formulas_says_so_and_reinforces_knowledge(tmp_path):
    for path in SMALL.iterdir():
        text = path.read_text()
        if path.suffix == ".toml":
            blocks = text.replace("[[node", "\x00[[node").split("\x00")
            text = "".join(block for block in blocks if not block.startswith("[[node.formula"))
        (tmp_path / path.name).write_text(text)
    said = []
    _, rows = build(small(corpus=str(tmp_path)), tmp_path / "out", say=said.append)
    assert {row["kind"] for row in rows["test"]} == {"knowledge", "transfer"}
    assert {row["grader"] for row in rows["rl"]} == {"choice"} and {row["kind"] for row in rows["sft"]} == {
        "mcq",
        "open",
    }
    assert any("no formulas" in text for text in said)


@pytest.mark.skipif(not TEXTBOOK.is_dir(), reason="the textbook is not at ../shared/data/analog_textbook")
def test_a_real_textbook_gives_enough_clean_items(tmp_path):
    spec = Spec(corpus=str(TEXTBOOK))
    _, rows = build(spec, tmp_path)
    assert len({row["fact_id"] for row in rows["qtsa"]}) >= 250, "distinct phrases asked for"
    assert Counter(row["kind"] for row in rows["test"]) == {"knowledge": 300, "transfer": 100}
    texts = {row["node_id"]: row["text"] for row in rows["nodes"]}
    for row in rows["qtsa"]:
        _, node, place = row["span"].rsplit(":", 2)
        start, end = map(int, place.split("-"))
        assert set(row["answer"].split()) <= set("ABCD") or row["answer"] in texts[node][start:end]
        shown = " ".join([row["question"], row["answer"], *(row["options"] or ())])
        assert not set("\\${}@\x00") & set(shown) and "[…]" not in shown, shown
        assert "**" not in shown and "](" not in shown and "`" not in shown, shown
    assert all(len(set(row["options"])) == 4 for row in rows["qtsa"] if row["options"])
