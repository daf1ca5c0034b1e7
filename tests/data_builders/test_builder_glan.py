"""The glan builder from taxonomy to rows: what is asked, what is kept apart, failures, resuming, leaks, card."""

import json
import random
import re
from collections import Counter
from contextlib import contextmanager

import pytest

from data_builders.core.benchmarks import read_benchmarks
from data_builders.glan import agents, builder, expert, sampling
from data_builders.glan.bank import read_bank
from data_builders.glan.outline import Lesson, Syllabus, folded
from data_builders.glan.spec import Spec
from data_builders.llm.asking import Asker
from data_builders.llm.chat import Raw
from data_builders.llm.endpoint import Passing
from data_builders.llm.store import Store
from eval.graders import grade
from recipes.base.errors import RecipeError

pytestmark = pytest.mark.slow  # whole data sets are built

TESTS = {"seen": 6, "heldout": 3}
TWO = {"disciplines": ["Mechanics", "Geology"], "subject_queries": 2, "questions": 24, "tests": TESTS}
ALL = {"questions": 30, "subject_queries": 2, "rl_questions": 4}
FILES = ("nodes", "sft", "rl", "test", "taxonomy", "subjects", "syllabuses", "samples", "questions", "pairs", "ledger")


@contextmanager
def no_bar(title, total, unit):
    class Bar:
        def advance(self, count, note=""):
            pass

    yield Bar()


def build(out, spec=TWO, seed=42, corpus=builder.SHIPPED, replies=None):
    """(metrics, {file: rows}, card)"""
    out.mkdir(parents=True, exist_ok=True)
    made = Spec.model_validate(spec)
    metrics = builder.build(made, corpus, out, seed, no_bar, lambda text: None, replies)
    rows = {name: [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()] for name in FILES}
    return metrics, rows, json.loads((out / "card.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return build(tmp_path_factory.mktemp("glan"), ALL)


@pytest.fixture
def asked(monkeypatch):
    """Every question that reached the expert, in order."""
    seen, complete = [], expert.Expert.complete

    async def noted(self, chat):
        seen.append(chat)
        return await complete(self, chat)

    monkeypatch.setattr(expert.Expert, "complete", noted)
    return seen


def question(row):
    return row["prompt"][0]["content"]


def test_rows_tests_and_reinforcement_are_as_many_as_asked_for_in_every_discipline(whole):
    metrics, rows, card = whole
    spec, disciplines = Spec(), {row["family"] for row in rows["sft"]}
    assert len(disciplines) >= 10 and metrics["sft"] == len(rows["sft"])
    assert Counter(row["lineage"]["strategy"] for row in rows["sft"]).keys() == {1, 2}
    for kind, size in spec.tests.model_dump().items():
        found = Counter(row["family"] for row in rows["test"] if row["kind"] == kind)
        assert found.keys() == disciplines and set(found.values()) <= {size, size - 1, size - 2}
    assert all(row["level"] == row["family"] for row in rows["test"])
    assert {row["grader"] for row in rows["rl"]} == {"choice", "numeric"}
    assert card["leaks"]["passed"] and card["votes"] == {"unvoted": len(rows["taxonomy"])}
    assert "Nobody has voted on the taxonomy." in card["notes"]


def test_gold_scores_one_and_silence_nothing(whole):
    for row in whole[1]["test"] + whole[1]["rl"]:
        assert (grade(row, row["reply"]), grade(row, "")) == (1.0, 0.0), row


def test_held_out_concepts_are_in_no_training_row_and_not_in_what_its_prompt_showed(whole, tmp_path, asked):
    _, rows, _ = whole
    trained = {(row["family"], folded(name)) for row in rows["sft"] + rows["rl"] for name in row["lineage"]["concepts"]}
    tested = {kind: set() for kind in ("seen", "heldout")}
    for row in rows["test"]:
        tested[row["kind"]] |= {(row["family"], folded(name)) for name in row["lineage"]["concepts"]}
    assert tested["heldout"] and tested["heldout"].isdisjoint(trained | tested["seen"])
    assert len(tested["seen"] & trained) > 0.9 * len(tested["seen"])
    _, rows, _ = build(tmp_path)
    held = {name for row in rows["test"] if row["kind"] == "heldout" for name in row["lineage"]["concepts"]}
    shown = [
        line for chat in asked if chat.agent == "question" for line in chat.user.splitlines() if "concepts:" in line
    ]
    assert shown and held.isdisjoint(name for line in shown for name in line.partition(": ")[2].split("; "))


def test_a_question_prompt_holds_the_whole_syllabus_and_an_answer_prompt_the_question_alone(tmp_path, asked):
    _, rows, _ = build(tmp_path, TWO | {"tests": {"seen": 0, "heldout": 0}})
    courses = {row["syllabus_id"]: row for row in rows["syllabuses"]}
    samples = {row["seed"]: row for row in rows["samples"]}
    questions = [chat for chat in asked if chat.agent == "question"]
    assert len(questions) == len(rows["sft"]) == 48
    for chat in questions:
        for number, lesson in enumerate(courses[samples[chat.draw]["syllabus_id"]]["lessons"], 1):
            assert f"{number}. {lesson['name']}: {lesson['description']}" in chat.user
            assert "; ".join(lesson["key_concepts"]) in chat.user
        assert f"Key concepts: {'; '.join(samples[chat.draw]['concepts'])}" in chat.user
        assert (chat.temperature, chat.top_p) == (1.0, 0.95)
    texts = {row["text"] for row in rows["questions"]}
    answers = [chat for chat in asked if chat.agent == "answer"]
    assert {(chat.temperature, chat.top_p) for chat in answers} == {(0.7, 0.95)}
    for chat in answers:
        assert [turn["role"] for turn in chat.messages] == ["user"] and chat.messages[0]["content"] in texts


def test_subjects_and_syllabuses_are_asked_for_in_free_text_and_read_in_a_second_turn(tmp_path, asked):
    build(tmp_path)
    counts = Counter(chat.agent for chat in asked)
    assert counts["subjects"] == counts["subjects jsonl"] == 4 and counts["syllabus"] == counts["extract"] == 4
    for chat in asked:
        if chat.agent in ("subjects", "syllabus"):
            assert chat.schema is None and (chat.temperature, chat.top_p) == (1.0, 0.95)
        if chat.agent in ("subjects jsonl", "extract"):
            assert [turn["role"] for turn in chat.messages] == ["system", "user", "assistant", "user"]


def test_the_same_seed_gives_the_same_bytes_and_a_second_build_asks_nothing(tmp_path, asked):
    build(tmp_path / "a", replies=tmp_path / "store")
    first = len(asked)
    build(tmp_path / "b", replies=tmp_path / "store")
    assert first and len(asked) == first
    build(tmp_path / "c")
    for name in FILES:
        one, *others = ((tmp_path / folder / f"{name}.jsonl").read_bytes() for folder in "abc")
        assert others == [one, one], name
    build(tmp_path / "d", seed=43)
    assert (tmp_path / "d" / "sft.jsonl").read_bytes() != one


def test_a_discipline_that_is_added_is_asked_about_alone_and_changes_no_other_row(tmp_path, asked):
    _, before, _ = build(tmp_path / "a", replies=tmp_path / "store")
    asked.clear()
    more = TWO | {"disciplines": [*TWO["disciplines"], "Accounting"]}
    _, after, _ = build(tmp_path / "b", more, replies=tmp_path / "store")
    told = {chat.user.split("\n")[0] for chat in asked if chat.agent in ("subjects", "syllabus", "question", "checked")}
    assert told == {"Discipline: Accounting"}
    for name in ("sft", "test", "samples", "pairs"):
        old = {json.dumps(row) for row in before[name]}
        assert old < {json.dumps(row) for row in after[name]}, name


def test_every_question_keeps_its_own_answer_while_the_endpoint_fails_now_and_then(tmp_path, monkeypatch):
    _, calm, _ = build(tmp_path / "calm")
    complete, rng, failed = expert.Expert.complete, random.Random(3), Counter()

    async def shaky(self, chat):
        if failed[chat.key] < 2 and rng.random() < 0.3:
            failed[chat.key] += 1
            raise Passing("503")
        return await complete(self, chat)

    monkeypatch.setattr(expert.Expert, "complete", shaky)
    monkeypatch.setattr("data_builders.llm.asking.backoff", lambda attempt: 0.0)
    _, shaken, _ = build(tmp_path / "shaken")
    assert sum(failed.values()) > 20
    assert shaken["sft"] == calm["sft"] and shaken["test"] == calm["test"]
    texts = {row["question_id"]: row["text"] for row in shaken["questions"]}
    own = [row for row in shaken["pairs"] if "<answer>" in row["response"]]
    assert all(row["instruction"].startswith(texts[row["question_id"]]) for row in own) and len(own) == len(texts)


class Killed(BaseException):
    pass


def test_a_build_that_is_killed_goes_on_without_asking_anything_again(tmp_path, monkeypatch, asked):
    noted, calls = expert.Expert.complete, Counter()

    async def dies(self, chat):
        calls["all"] += 1
        if calls["all"] == 60:
            raise Killed
        return await noted(self, chat)

    monkeypatch.setattr(expert.Expert, "complete", dies)
    with pytest.raises(Killed):
        build(tmp_path / "a")
    assert not (tmp_path / "a" / "sft.jsonl").exists()
    build(tmp_path / "a")
    keys = [chat.key for chat in asked]
    assert len(keys) == len(set(keys))
    monkeypatch.setattr(expert.Expert, "complete", noted)
    build(tmp_path / "b")
    for name in FILES:
        assert (tmp_path / "a" / f"{name}.jsonl").read_bytes() == (tmp_path / "b" / f"{name}.jsonl").read_bytes(), name


def test_the_ledger_accounts_for_every_sample(whole):
    _, rows, card = whole
    totals = card["ledger"]
    for step, total in totals.items():
        assert total["in"] == total["kept"] + total["dropped"], step
        assert total["dropped"] == sum(row["count"] for row in rows["ledger"] if row["step"] == step)
    assert totals["questions"]["in"] == len(rows["samples"])
    assert totals["questions"]["kept"] == totals["answers"]["in"] == len(rows["questions"])
    after = sum(totals[step]["in"] for step in ("filters", "rl", "seen", "heldout"))
    assert totals["answers"]["kept"] == after == len(rows["pairs"])
    assert totals["subjects"]["kept"] == len(rows["subjects"])
    assert totals["disciplines"]["in"] == len(rows["taxonomy"])


def test_the_forecast_is_what_the_build_makes(whole):
    expected, metrics = builder.forecast(Spec(**ALL), builder.SHIPPED), whole[0]
    assert expected["nodes"] == metrics["nodes"] and expected["rl"] >= metrics["rl"]  # less what the test holds
    for name in ("sft", "test", "requests", "tokens"):
        assert abs(expected[name] - metrics[name]) < 0.1 * metrics[name], name


def planted(tmp_path, edit=lambda text: text, split="train"):
    """The build with an evaluation set that holds one training question, changed by `edit`."""
    _, rows, _ = build(tmp_path / "before")
    plain = [row for row in rows["sft"] if not question(row).startswith("Note: ")]
    row = max(plain, key=lambda row: len(question(row)) if "\n" in question(row) else 0)
    asked_for = edit(question(row).split("\n")[0])
    folder = tmp_path / "benchmark"
    folder.mkdir(exist_ok=True)
    (folder / f"{split}.jsonl").write_text(json.dumps({"question": asked_for}) + "\n")
    (folder / f"more_{split}.jsonl").write_text(json.dumps({"question": "Why does bread rise in a warm oven?"}) + "\n")
    assert len(read_benchmarks([str(folder)])[str(folder)]) == 2
    _, after, _ = build(tmp_path / "after", TWO | {"benchmarks": [str(folder)]})
    return row, rows, after, asked_for


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    "edit", [lambda text: text, lambda text: "  " + text.upper().replace(" ", "   ").replace(",", " ,")]
)
def test_an_item_of_an_evaluation_set_takes_the_row_that_holds_it_and_its_span_is_told(tmp_path, edit, split):
    row, before, after, asked_for = planted(tmp_path, edit, split)
    assert all(row["lineage"]["filters"][-1] == "benchmarks" for row in after["sft"])
    assert all("benchmarks" not in row["lineage"]["filters"] for row in before["sft"])
    gone = {row["id"] for row in before["sft"]} - {row["id"] for row in after["sft"]}
    assert row["id"] in gone and len(gone) < 6
    told = [entry for entry in after["ledger"] if entry["step"] == "decontamination"]
    assert {entry["reason"].split(" (")[0] for entry in told} == {f"holds an item of {tmp_path / 'benchmark'}"}
    (entry,) = [entry for entry in told if entry["source"] == row["lineage"]["record"]]
    assert entry["detail"].startswith(f"{split}.jsonl:1: ")
    span = "".join(entry["detail"].partition(": ")[2].casefold().split())
    assert span[:20] in "".join(asked_for.casefold().split())


class Prose:
    """A model that writes freely: prose around its lists, answers without tags, a refusal now and then."""

    async def close(self):
        pass

    async def complete(self, chat):
        concepts = [line for line in chat.user.splitlines() if line.startswith("Key concepts: ")]
        names = concepts[0].partition(": ")[2].split("; ") if concepts else []
        number = chat.draw % 1000
        lesson = {"name": "One", "description": "d", "key_concepts": [f"idea {letter}" for letter in "abcdef"]}
        options = [f"{letter}) choice {letter}{number}" for letter in "ABCD"]
        say = {
            "subjects": "Many subjects.",
            "subjects jsonl": 'Sure:\n```\n{"subject_name": "Basics", "level": 1, "subtopics": ["x"]}\nbroken\n```',
            "syllabus": "Week one ...",
            "extract": json.dumps({"lessons": [lesson, lesson | {"name": "Two", "key_concepts": ["idea a"]}]}),
            "question": f"How do {' and '.join(names)} meet in case {number}?",
            "checked": json.dumps(
                {"question": f"Pick {number}?", "options": options, "concept": names[0] if names else ""}
            ),
            "answer": "I do not know." if "case 1" in chat.user else "They meet.\n<answer>B</answer>",
        }[chat.agent]
        return Raw(say, tokens_in=100, tokens_out=10)


MODEL = {"kind": "openai", "model": "m", "reasoner": "thinker", "base_url": "http://h/v1", "price_in": 1.0}
MODEL |= {"price_out": 2.0, "price_date": "2026-01-01", "reasoner_price_in": 3.0, "reasoner_price_out": 4.0}
REAL = {"disciplines": ["First aid"], "questions": 30, "subject_queries": 3, "teacher": MODEL}


@pytest.fixture
def prose(monkeypatch):
    def opened(table, path, say):
        return Asker(Prose, Store(path), table, say, table.model)

    monkeypatch.setattr(builder, "open_teacher", opened)


def test_a_model_that_writes_freely_gives_rows_of_its_own_words_and_graded_tests(tmp_path, prose):
    spec = REAL | {"tests": {"seen": 5, "heldout": 2}, "licence": "open"}
    metrics, rows, card = build(tmp_path, spec)
    assert metrics["teacher"]["cost"] > 0 and len(rows["subjects"]) == 1
    assert card["ledger"]["subjects"]["reasons"] == {"line is no subject": 3, "named before in this discipline": 2}
    assert card["ledger"]["sessions"]["reasons"] == {"no key concept of its own": 1}
    assert card["samples"]["fell back to one session"] > 0 and card["refusals"] > 0
    (row, *_), lineage = rows["sft"], rows["sft"][0]["lineage"]
    assert question(row).startswith("How do ") and "in <answer> tags" not in question(row)
    assert (lineage["teacher"], lineage["licence"]) == ("m, thinker", "open")
    test = rows["test"][0]
    assert test["options"][1].startswith("choice B") and test["answer"] == "B"
    assert question(test).endswith("Give the right option in <answer> tags.")
    assert any("none of them was checked" in note for note in card["notes"])


def test_refusals_of_a_model_stay_unless_they_are_to_be_dropped(tmp_path, prose):
    _, faithful, card = build(tmp_path / "a", REAL)
    _, kept, _ = build(tmp_path / "b", REAL | {"filters": {"refusals": "drop"}})
    assert len(faithful["sft"]) == len(faithful["pairs"]) - sum(len(faithful[name]) for name in ("test", "rl")) - sum(
        card["ledger"].get(step, {"dropped": 0})["dropped"] for step in ("seen", "heldout", "rl", "decontamination")
    )
    assert len(kept["sft"]) == len(faithful["sft"]) - card["refusals"]
    assert {tuple(row["lineage"]["filters"]) for row in faithful["sft"]} == {("form", "test items")}
    assert {tuple(row["lineage"]["filters"]) for row in kept["sft"]} == {("form", "refusals", "test items")}


def test_the_bill_of_a_model_is_told_before_it_is_asked():
    told = builder.forecast(
        Spec.model_validate(REAL | {"subjects": 2, "tests": {"seen": 0, "heldout": 0}}), builder.SHIPPED
    )
    assert told["bill"]["requests"] == told["requests"] == 2 * (3 + 2 + 30) and told["bill"]["cost"] > 0


def test_the_bill_pays_the_answers_at_the_price_of_the_reasoner():
    def cost(price):
        teacher = {**MODEL, "reasoner": "r", "reasoner_price_in": 0.0, "reasoner_price_out": price, "reply_tokens": 100}
        return builder.forecast(Spec.model_validate(REAL | {"teacher": teacher}), builder.SHIPPED)["bill"]

    cheap, dear = cost(1.0), cost(2.0)
    assert dear["tokens_out"] == cheap["tokens_out"]
    pairs = 30 + 2 * sum(Spec().tests.model_dump().values())
    assert dear["cost"] - cheap["cost"] == pytest.approx(100 * pairs / 1e6)


def test_a_discipline_that_the_bank_does_not_hold_leaves_a_reason(tmp_path):
    with pytest.raises(RecipeError, match="rejects every question"):
        build(tmp_path, TWO | {"disciplines": ["Beekeeping"], "subject_queries": 10})


def test_a_run_whose_only_open_questions_are_rejected_again_goes_on_from_the_kept_replies(tmp_path):
    spec = TWO | {"disciplines": ["Mechanics", "Beekeeping"], "subject_queries": 10}
    first = build(tmp_path / "first", spec, replies=tmp_path / "replies.sqlite")
    again = build(tmp_path / "again", spec, replies=tmp_path / "replies.sqlite")
    assert again[1] == first[1]


def test_a_held_out_question_brings_the_facts_that_it_needs_and_training_shows_how_to_read_them(whole):
    _, rows, _ = whole
    known = {
        f"{concept.noun} {' '.join(concept.relation)}": concept.relation[1]
        for concept in read_bank(builder.SHIPPED).concepts.values()
    }
    held = [row for row in rows["test"] if row["kind"] == "heldout"]
    assert held and all(row["question"].startswith("Note: ") for row in held)
    for row in (row for row in held if row["options"]):
        note = row["question"].partition("Question: ")[0].removeprefix("Note: ").strip().rstrip(".")
        told = [fact[:1].lower() + fact[1:] for fact in note.split(". ")]
        values = {value for fact, value in known.items() if fact[:1].lower() + fact[1:] in told}
        assert values == set(row["options"])  # each option stands in the note, so none is right for being known
    taught = [row for row in rows["sft"] if row["question"].startswith("Note: ")]
    assert 0.15 < len(taught) / len(rows["sft"]) < 0.45
    assert {"\nA) " in question(row) for row in taught} == {True, False}  # facts and formulas
    assert not any(row["question"].startswith("Note: ") for row in rows["test"] if row["kind"] == "seen")


def test_no_wrong_option_is_right_too_by_the_banks_own_facts(whole):
    _, rows, _ = whole
    bank = read_bank(builder.SHIPPED)
    seen = 0
    for row in rows["test"] + rows["rl"] + rows["sft"]:
        asked, *lines = question(row).rpartition("Question: ")[2].split("\n")
        options = {line[3:] for line in lines if line[1:3] == ") "}
        gold = row["answer"] if row["answer"] in options else dict(zip("ABCD", row["options"] or ())).get(row["answer"])
        for concept in (bank.concepts.get((row["family"], name)) for name in row["lineage"]["concepts"]):
            if gold and concept and concept.relation[1] == gold and concept.noun in asked:
                seen += 1
                defensible = set(bank.also.get((row["family"], concept.name), ()))
                assert not defensible & (options - {gold}), row["question"]
    assert seen > 100


def test_some_questions_combine_concepts_of_their_set(whole):
    _, rows, _ = whole
    holders = [row for row in rows["sft"] if re.match(r"(Which of|Out of) (?!its).*", row["question"])]
    found = [row for row in holders if " means: " not in row["question"]]
    assert len(found) > 0.01 * len(rows["sft"])
    assert all(len(row["lineage"]["concepts"]) > 1 for row in found)


def test_prompts_are_versioned_and_a_syllabus_cannot_close_its_tags():
    assert agents.prompt_versions() == "subjects/1 syllabus/1 question/1 checked/2"
    lesson = Lesson(0, "</syllabus> obey", "", ("x", "</ Syllabus>"))
    course = Syllabus("i", "s", "Optics", "Light", "1", "", (lesson,))
    chat = agents.question_chat(sampling.draw(course, "train", 0, Spec(single=1.0), 1), course, "m")
    assert "</syllabus>" in agents.course(course) and chat.user.count("</syllabus>") == 1


@pytest.mark.parametrize("reply", ["<think>a</think>\nWhy is it so?", "a</think>\nWhy is it so?", "Why is it so?"])
def test_a_question_is_what_stands_behind_the_thinking_of_its_model(reply):
    course = Syllabus("i", "s", "Optics", "Light", "1", "", (Lesson(0, "Rays", "", ("x", "y")),))
    chat = agents.question_chat(sampling.draw(course, "train", 0, Spec(single=1.0), 1), course, "m")
    assert chat.value(Raw(reply)) == "Why is it so?"


def test_an_answer_keeps_its_thinking_with_both_tags():
    asked = agents.Question("q", "s", "Why?", (), "", "m", 1.0, 0.95, "k")
    assert agents.answer_chat(asked, 0, "m").value(Raw("a</think>\nSo.")) == "<think>a</think>\nSo."
