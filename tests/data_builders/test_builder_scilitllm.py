"""The scilitllm data: the laboratory world, the cut, keywords, synthetic rows and their checks, published sets."""

import json
import math
import random
import re
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from scipy.stats import chisquare

from data_builders.core.judge import Item, judge_chat, read_rubric, rule_scores
from data_builders.core.ledger import Ledger
from data_builders.scilitllm import builder, molecules, published, synthesis
from data_builders.scilitllm.expert import Expert
from data_builders.scilitllm.keywords import Table, keyword_table
from data_builders.scilitllm.reports import report, reports, scanned, substances
from data_builders.scilitllm.spec import Spec, World
from data_builders.scilitllm.tasks import TASKS
from data_builders.sources.repair import by_rule
from eval.graders import grade
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl
from recipes.base.places import ROOT
from recipes.base.reply_form import Exchange, render_reply
from tests.helpers.served import served, table
from tests.helpers.teacher_server import Server

pytestmark = pytest.mark.slow  # whole data sets are built

REAL = next((p for p in (ROOT.parent / "shared", ROOT.parent.parent / "shared") if p.is_dir()), ROOT / "shared")
SMALL = {
    "world": {"substances": 16, "reports": 6},
    "teacher": {"rows": 8, "surplus": 1.5},
    "tests": {"facts": 32, "extraction": 8, "choice": 6, "true_false": 6, "molecules": 6},
    "general_rows": 5,
}


class Bar:
    def advance(self, n=1, note=None):
        pass


@contextmanager
def bar(title, total, unit):
    yield Bar()


def build(out, seed=42, **changes):
    out.mkdir(parents=True, exist_ok=True)
    spec = Spec.model_validate(SMALL | changes)
    metrics = builder.build(spec, builder.corpus_dir(spec), out, seed, bar, lambda text: None)
    files = ("sft", "test", "cpt", "sft_general", "ledger", "nodes")
    return (
        metrics,
        {name: read_jsonl(out / f"{name}.jsonl") for name in files},
        json.loads((out / "card.json").read_text()),
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return build(tmp_path_factory.mktemp("small"))


def question(row):
    return row["prompt"][-1]["content"]


def test_the_build_gives_every_kind_and_gold_replies_are_worth_one(small):
    _, rows, card = small
    kinds = Counter(row["kind"] for row in rows["test"])
    assert kinds == {"facts": 32, "extraction": 8, "choice": 6, "true_false": 6, "molecules": 6}
    assert set(kinds) == {row["kind"] for row in rows["sft"]}
    assert {row["lineage"]["task"] for row in rows["sft"] if row["kind"] != "facts"} == set(TASKS)
    assert all(grade(row, row["reply"]) == 1.0 and grade(row, "") == 0.0 for row in rows["test"])
    closed = [row for row in rows["test"] if row["kind"] == "true_false"]
    assert all(row["options"] == ["true", "false"] for row in closed)
    assert all(grade(row, f"The statement is {row['answer']}.") == 1.0 for row in closed)
    assert len(rows["sft_general"]) == 5 and card["leaks"]["passed"]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_facts(small, tmp_path):
    _, rows, _ = small
    _, again, _ = build(tmp_path / "again")
    assert again == rows
    _, other, _ = build(tmp_path / "other", seed=7)
    assert {question(row) for row in other["test"]} & {question(row) for row in rows["test"]} != {
        question(row) for row in rows["test"]
    }


def test_tested_facts_stand_in_the_corpus_and_in_no_supervised_row(small):
    _, rows, _ = small
    known = {substance.name for substance in substances(16, 42)}
    facts = [row for row in rows["test"] if row["kind"] == "facts"]
    tested = {row["node_id"] for row in facts}
    assert len(tested) == 8 == len({row["node_id"] for row in rows["sft"] if row["kind"] == "facts"} - tested)
    supervised = {word for row in rows["sft"] for word in row["completion"][0]["content"].split()}
    texts = {node["node_id"]: node["text"] for node in rows["nodes"]}
    names = {id: next(name for name in known if name in texts[id]) for id in tested}
    assert len(set(names.values())) == 8 and not set(names.values()) & supervised
    for row in facts:
        name = names[row["node_id"]]
        assert name in question(row) and row["answer"] in texts[row["node_id"]]
        assert any(name in text["text"] and row["answer"] in text["text"] for text in rows["cpt"])


def test_a_row_names_the_filters_that_it_has_passed_and_no_other(small):
    _, rows, _ = small
    found = {
        (file, row["kind"]): tuple(row["lineage"].get("filters", ()))
        for file in ("sft", "test")
        for row in rows[file]
        if row["kind"] in ("facts", "choice", "molecules")
    }
    written = ("form", "near duplicates")
    assert found == {  # rules cannot judge a molecule, and what is kept for the test is not compared with itself
        ("sft", "facts"): ("test items",),
        ("sft", "choice"): (*written, "judge", "test items"),
        ("sft", "molecules"): (*written, "test items"),
        ("test", "facts"): (),
        ("test", "choice"): (*written, "judge"),
        ("test", "molecules"): written,
    }


def test_reading_tests_speak_of_no_substance_that_training_speaks_of(small):
    _, rows, _ = small
    expert = Expert({substance.name for substance in substances(16, 42)})
    trained, tested = (
        {name for row in rows[file] for names in expert.names.values() for name in names if name in question(row)}
        for file in ("sft", "test")
    )
    assert trained <= set(expert.names["sft"]) and tested <= set(expert.names["test"]) and tested


@pytest.mark.parametrize("cut", ["quality", "random"])
def test_a_cut_keeps_three_quarters_by_count_and_says_what_it_left_out(tmp_path, cut):
    _, rows, card = build(tmp_path, cut=cut)
    total = len(rows["nodes"])
    assert len(rows["cpt"]) == math.ceil(0.75 * total) == card["cut"]["kept"]
    assert sum(row["step"] == "cut" for row in rows["ledger"]) == total - len(rows["cpt"])
    assert card["cut"]["by"] == cut


def test_the_quality_cut_takes_out_what_is_bad_and_does_not_touch_the_supervised_rows(small, tmp_path):
    def bad(rows):
        return sum("lol" in t["text"] or "!!!" in t["text"] or "Click" in t["text"] for t in rows["cpt"])

    _, quality, _ = small
    _, none, _ = build(tmp_path / "none", cut="none")
    _, drawn, _ = build(tmp_path / "random", cut="random")
    assert len(none["cpt"]) == len(none["nodes"])
    assert bad(quality) <= 0.2 * bad(none) < bad(drawn)
    assert quality["sft"] == none["sft"] == drawn["sft"] and quality["test"] == none["test"]


def test_a_scan_is_restored_by_the_rules_as_readers_hand_it_on():
    known = substances(8, 1)
    rng = random.Random(3)
    for number, substance in enumerate(known):
        good = report(substance, number, rng)
        damaged = " ".join(scanned(good, rng).text.split())
        assert by_rule(damaged) == good.text


def test_hearsay_states_a_wrong_value_for_everything():
    known = substances(24, 5)
    said = [one for one in reports(known, World(substances=24), 5) if one.kind == "hearsay"]
    assert len(said) == round(24 * 6 / 0.75 * 0.17)
    for one in said:
        for value in one.substance.facts.values():
            assert value not in one.text.split()


@pytest.mark.parametrize("temperature", [1, 3])
def test_keywords_are_drawn_as_often_as_their_tempered_weight_says(temperature):
    table = Table("x", {"steel": 64, "alloy": 27, "grain": 8, "phase": 1}, {})
    raised = [count ** (1 / temperature) for count in table.counts.values()]
    drawn = Counter(table.draw(20_000, temperature, random.Random(1)))
    wanted = [20_000 * value / sum(raised) for value in raised]
    assert chisquare([drawn[word] for word in table.counts], wanted).pvalue > 0.01


def test_debris_is_no_keyword_and_elements_count_by_their_capitals():
    texts = ["Fe and the alloy of Smith", "fe alloys; b is a letter, B is boron", "alloy with B and Fe 12 x1"] * 2
    table = keyword_table("metals", [*texts, "zzqj of Jones at httpxyz alloy In As"], 3)
    assert {"Fe", "B", "alloy"} <= table.counts.keys()
    assert not {"b", "fe", "zzqj", "httpxyz", "In", "As", "the", "12"} & table.counts.keys()
    assert table.removed["in too few documents"] >= 2
    told = Table("x", {"often": 900, **{f"once{n}": 1 for n in range(100)}}, {}).told(3.0)
    assert told["rare_mass"] == 0.1 and told["rare_mass_drawn"] > 0.8


def test_a_job_draws_its_own_keywords_and_the_same_ones_again():
    tables = [Table("x", {f"word{n}": n + 1 for n in range(50)}, {})]
    settings = SimpleNamespace(count=20, temperature=3.0)
    found = synthesis.jobs(tables, {("T_F", "sft"): 5}, settings, 1)
    assert found == synthesis.jobs(tables, {("T_F", "sft"): 5}, settings, 1)
    assert len({job.keywords for job in found}) == 5 and all(len(job.keywords) == 20 for job in found)
    assert found != synthesis.jobs(tables, {("T_F", "sft"): 5}, settings, 2)


class Scripted(Expert):
    """The expert with a few of its replies spoilt."""

    def __init__(self, spoil):
        super().__init__(set())
        self.spoil = spoil

    def write(self, job):
        return self.spoil.get(job.draw, lambda reply: reply)(super().write(job))


def made_by(spoil, task="multiple_choice", count=12):
    tables = [Table("x", {f"word{n}": 5 for n in range(50)}, {})]
    wanted = synthesis.jobs(tables, {(task, "sft"): count}, SimpleNamespace(count=20, temperature=3.0), 1)
    ledger = Ledger()
    records, told = synthesis.records(Spec(), wanted, Scripted(spoil), None, ledger, bar, lambda text: None)
    return records, ledger, told


def test_every_unusable_reply_goes_with_its_own_reason_and_all_are_accounted_for():
    records, ledger, _ = made_by(
        {
            0: lambda reply: {key: reply[key] for key in reply if key != "question"},
            1: lambda reply: reply | {"answer": "  "},
            2: lambda reply: reply | {"answer": "violet"},
            3: lambda reply: reply | {"options": [reply["answer"]] * 4},
            4: lambda reply: reply | {"question": "What does the passage say?"},
            5: lambda reply: reply | {"question": "Which is it? <answer>red</answer>"},
        }
    )
    reasons = ledger.totals()["synthesis"]["reasons"]
    assert reasons == {
        "wrong schema: question": 1,
        "wrong schema: answer": 1,
        "answer is no option": 1,
        "options are not four": 1,
        "speaks of the text it was made from": 1,
        "think or answer tag inside a field": 1,
    }
    assert ledger.totals()["synthesis"]["in"] == 12
    assert len(records) + sum(total["dropped"] for total in ledger.totals().values()) == 12


def test_a_wrong_answer_in_good_form_goes_by_the_fact_check_alone():
    def lie(reply):
        wrong = next(option for option in reply["options"] if option != reply["answer"])
        return reply | {"answer": wrong}

    records, ledger, told = made_by({3: lie})
    assert ledger.totals()["judge"]["reasons"] == {"judge: correct below 4": 1} and len(records) == 11
    assert all(mean >= 4.0 for _, mean in records) and told["judge"]["not_judged"] == 0


def test_the_judge_sees_the_answer_and_checks_lists_and_claims_by_the_text():
    rubric = read_rubric(synthesis.RUBRIC)
    text = "Belvite had 3 g at 20 C. Norlite is red in colour."
    judge = rule_scores(rubric)

    def correct(question, answer):
        exchange = Exchange(question=question, thinking="So it is.", answer=answer)
        item = Item(id="1", shown=question, reply=render_reply(exchange), exchange=exchange, context=text)
        assert answer in judge_chat(rubric, item, "m").user
        return judge(item)["correct"]

    assert correct("List name, mass and heat:", "Belvite 3 g 20 C; Norlite red") == 5
    assert correct("List name, mass and heat:", "Belvite 3 g 20 C; Norlite 7 g") < 4
    assert correct("True or false: Norlite is red in colour.", "true") == 5
    assert correct("True or false: Norlite is red in colour.", "false") == 1
    assert correct("True or false: Norlite is blue in colour.", "true") == 1


@pytest.mark.parametrize("count", [1, 3, 5, 9, 10])
def test_clean_rows_stay_and_a_planted_near_duplicate_goes(count):
    clean, _, told = made_by({}, "entity_extraction", count)
    assert len(clean) == count and sum(told["similarity"]["bins"]) == count
    same = []  # the second reply is the first again
    spoil = {0: lambda reply: same.append(reply) or reply, 1: lambda reply: same[0]}
    twice, ledger, _ = made_by(spoil, "entity_extraction", max(2, count))
    assert len(twice) == max(2, count) - 1 and ledger.totals()["similar"]["reasons"] == {"near duplicate": 1}


class Writing(Server):
    """A model that writes a row for every request, but never a readable one for number 4."""

    def completion(self, payload, fault):
        made = super().completion(payload, fault)
        system, user = (turn["content"] for turn in payload["messages"][:2])
        number = int(re.search(r"Number (\d+)", user)[1])
        assert "Field: x\nKeywords, " in user and "`options`" in system
        name, other = f"Quellite{number}", f"Zand{number * 7}"
        reply = {
            "text": f"The alloy {name} of lot {number * 13} is hard. {other} and {other}ine were soft in run {number}.",
            "question": f"Which alloy of lot {number * 13} is hard?",
            "options": [other, f"{other}ine", name, "none of them"],
            "reasoning": f"The text says that the alloy {name} of lot {number * 13} is hard, and the others soft.",
            "answer": name,
        }
        if fault is None:
            made["choices"][0]["message"]["content"] = (
                "no" if number == 4 else f"Here:\n```json\n{json.dumps(reply)}\n```"
            )
        return made


def test_a_model_writes_rows_through_the_same_checks_and_nothing_is_asked_twice(tmp_path):
    tables = [Table("x", {f"word{n}": 5 for n in range(50)}, {})]
    jobs = synthesis.jobs(tables, {("multiple_choice", "sft"): 8}, Spec().keywords, 1)
    server = Writing(faults=0.2, only=("429", "500"), latency=0.005)
    with served(server) as url:
        teacher = table(url).model_dump(exclude={"reply_tokens"})
        spec = Spec.model_validate({"teacher": teacher})

        def ask():
            ledger = Ledger()
            return synthesis.records(spec, jobs, Expert(set()), tmp_path / "r", ledger, bar, print), ledger

        (records, told), ledger = ask()
        done = server.done
        assert ask()[0][0] == records and server.done == done
    assert len(records) == 7 and told["teacher"]["replies"] >= 8
    assert ledger.totals()["synthesis"]["reasons"] == {"synthesis: invalid JSON, asked 3 times": 1}
    one = records[0][0]
    assert one.teacher == "openai:m" and len(one.asked) == 64 and one.keywords == jobs[0].keywords
    assert one.options["ABCD".index(one.exchange.answer)] == one.answer and one.answer.startswith("Quellite")


@pytest.mark.skipif(molecules.checker() != "rdkit", reason="RDKit is not installed")
@pytest.mark.parametrize(
    "smiles,valid", [("CCO", True), ("c1ccccc1O", True), ("C1CC", False), ("CC(", False), ("", False)]
)
def test_smiles_are_checked_by_rdkit(smiles, valid):
    assert molecules.is_valid(smiles) is valid


def test_without_rdkit_only_the_form_of_smiles_is_checked(monkeypatch):
    monkeypatch.setattr(molecules, "_rdkit", lambda: None)
    assert molecules.checker() == "form"
    assert molecules.is_valid("CC(=O)O") and not molecules.is_valid("CC(=O") and not molecules.is_valid("")
    assert not molecules.is_valid("ethanol, I think")


def write_sets(folder):
    (folder / "pubmedqa").mkdir(parents=True)
    (folder / "scitldr").mkdir()
    items = {
        str(n): {
            "QUESTION": f"Does drug {n} help patients of the trial?",
            "CONTEXTS": [f"In trial {n} we gave drug {n} to {100 + n} patients.", f"Arm {n} of {n * 3} was clear."],
            "LONG_ANSWER": f"Drug {n} helps.",
            "final_decision": ("yes", "no", "maybe")[n % 3],
        }
        for n in range(12)
    }
    (folder / "pubmedqa" / "ori_pqal.json").write_text(json.dumps(items))
    tested = {id: items[id]["final_decision"] for id in ("1", "4", "5")}
    (folder / "pubmedqa" / "test_ground_truth.json").write_text(json.dumps(tested))
    papers = [
        {
            "paper_id": f"p{n}",
            "source": [f"We study method {n} on task {n * 7}.", "It is fast."] * 9,
            "target": [f"Method {n} is fast.", f"Fast: {n}."],
        }
        for n in range(12)
    ]
    for name, rows in (("train", [*papers[:8], papers[8]]), ("test", papers[8:])):
        (folder / "scitldr" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_published_sets_keep_their_official_tests_apart_from_both_kinds_of_training(tmp_path):
    write_sets(tmp_path / "source")
    _, rows, card = build(tmp_path / "out", source=str(tmp_path / "source"), cut="none")
    tests = {kind: [row for row in rows["test"] if row["kind"] == kind] for kind in ("pubmedqa", "scitldr")}
    assert {row["lineage"]["record"] for row in tests["pubmedqa"]} == {"pubmedqa-1", "pubmedqa-4", "pubmedqa-5"}
    assert len(tests["scitldr"]) == 4 and all(grade(row, row["reply"]) == 1.0 for row in rows["test"])
    assert all(grade(row, f"<answer>{row['aliases'][0]}</answer>") == 1.0 for row in tests["scitldr"])
    assert all(grade(row, f"The answer is {row['answer']}.") == 1.0 for row in tests["pubmedqa"])
    assert {tuple(row["options"]) for row in tests["pubmedqa"]} == {("yes", "no", "maybe")}
    # p8 stands in both files: its training row and its abstract go
    trained = {row["lineage"]["record"] for row in rows["sft"]}
    assert "scitldr-p8" not in trained and "scitldr-p0" in trained
    assert "scitldr-p8" not in {text["node_id"] for text in rows["cpt"]} and rows["cpt"]
    assert card["ledger"]["decontamination of cpt"]["dropped"] == 1
    thoughts = [row["completion"][0]["content"] for row in rows["sft"] if row["kind"] == "pubmedqa"]
    assert len(thoughts) == 9 and all("<think>Drug" in text for text in thoughts)
    assert not any("<think>" in row["reply"] for row in tests["pubmedqa"])


def test_a_published_set_of_another_form_is_named(tmp_path):
    write_sets(tmp_path)
    (tmp_path / "pubmedqa" / "test_ground_truth.json").write_text('{"1": "no", "99": "yes"}')
    with pytest.raises(RecipeError, match="another form"):
        list(published.read(tmp_path))


@pytest.mark.skipif(not (REAL / "data" / "pubmedqa").is_dir(), reason="the sets are not at ../shared/data")
def test_the_real_sets_have_their_official_sizes():
    found = Counter((one.set, one.split) for one in published.read(REAL / "data"))
    assert found["pubmedqa", "test"] == found["pubmedqa", "train"] == 500
    assert found["scitldr", "test"] == 618 and found["scitldr", "train"] == 1992 + 619
