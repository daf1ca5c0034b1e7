"""Parts of the glan builder: taxonomy, concept sets, reading of replies, filters, coverage, the expert's bank."""

import hashlib
import random
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from data_builders.core.ledger import Ledger
from data_builders.core.wording import join_words
from data_builders.glan import builder, coverage, filters, sampling, wordings
from data_builders.glan.agents import Pair, Written
from data_builders.glan.bank import read_bank
from data_builders.glan.outline import Lesson, Outline, Syllabus, held_out, lessons_of, read_subjects
from data_builders.glan.solving import Solver
from data_builders.glan.spec import Filters, Spec
from data_builders.glan.taxonomy import chosen, read_taxonomy
from data_builders.llm.chat import Chat, Unusable
from recipes.base.errors import RecipeError
from recipes.base.jsonl import encode_json

BAKING = ["Baking"]
TREE = """
[votes]
{votes}
[[field]]
name = "Nature"
[[field.sub_field]]
name = "Physics"
academic = ["Mechanics", "Optics"]
[[field.sub_field]]
name = "Crafts"
vocational = ["Baking"]
"""


def course(*sizes, name="c"):
    lessons = tuple(
        Lesson(place, f"lesson {place}", "", tuple(f"{name}{place}-{number}" for number in range(size)))
        for place, size in enumerate(sizes)
    )
    return Syllabus(f"syllabus {name}", f"subject {name}", "Mechanics", name, "level", "", lessons)


def taxonomy(folder, votes=""):
    (folder / "taxonomy.toml").write_text(TREE.format(votes=votes), encoding="utf-8")
    return read_taxonomy(folder)


# Taxonomy


def test_the_shipped_taxonomy_has_over_120_disciplines_of_both_kinds_and_says_that_nobody_voted():
    entries = read_taxonomy(builder.SHIPPED)
    assert len(entries) > 120 and len({entry.discipline for entry in entries}) == len(entries)
    assert {entry.kind for entry in entries} == {"academic", "vocational"}
    assert {entry.status for entry in entries} == {"unvoted"} and len({entry.field for entry in entries}) >= 10


@pytest.mark.parametrize(
    ("votes", "left"),
    [
        ("", ["Mechanics", "Optics", "Baking"]),
        ('"Nature > Physics > Optics" = {keep = 1, remove = 2}', ["Mechanics", "Baking"]),
        ('"Nature > Physics" = {keep = 0, remove = 1}', ["Baking"]),
        (
            '"Nature > Physics" = {keep = 0, remove = 1}\n"Nature > Physics > Optics" = {keep = 9, remove = 0}',
            ["Baking"],
        ),
        ('"Nature" = {keep = 2, remove = 2}', ["Mechanics", "Optics", "Baking"]),
    ],
)
def test_a_node_that_most_vote_out_goes_with_all_below_it_and_a_tie_keeps_it(tmp_path, votes, left):
    ledger = Ledger()
    entries = chosen(taxonomy(tmp_path, votes), (), ledger)
    assert [entry.discipline for entry in entries] == left
    assert ledger.totals()["disciplines"]["in"] == 3


def test_only_a_voted_node_counts_as_kept(tmp_path):
    entries = taxonomy(tmp_path, '"Nature > Crafts > Baking" = {keep = 3, remove = 1}')
    assert [entry.status for entry in entries] == ["unvoted", "unvoted", "kept"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (('["Baking"]', '["Optics"]'), "Optics stands twice"),
        (("[votes]\n", '[votes]\n"Nature > Music" = {keep = 1, remove = 0}\n'), "which is no node"),
        (("[votes]\n", '[votes]\n"Nature" = 3\n'), "votes for 'Nature': 3"),
        (('name = "Nature"', ""), "KeyError"),
    ],
)
def test_a_faulty_taxonomy_is_named(tmp_path, spoil, message):
    (tmp_path / "taxonomy.toml").write_text(TREE.format(votes="").replace(*spoil, 1), encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        read_taxonomy(tmp_path)


def test_a_discipline_that_is_not_there_or_was_voted_out_is_refused(tmp_path):
    entries = taxonomy(tmp_path, '"Nature > Physics" = {keep = 0, remove = 1}')
    with pytest.raises(RecipeError, match=r"Optics \(removed: Nature > Physics\), Alchemy \(not in"):
        chosen(entries, ("Optics", "Alchemy"), Ledger())


# Concept sets


def test_strategies_keep_their_share_and_the_second_touches_both_sessions():
    drawn = sampling.samples([course(3, 5, 2)], "train", 400, Spec(single=0.25), 42)
    assert sum(sample.strategy == 1 for sample in drawn) == 100
    assert {len(sample.concepts) for sample in drawn if sample.strategy == 1} == {1, 2, 3, 4, 5}
    assert {len(sample.concepts) for sample in drawn if sample.strategy == 2} == {2, 3, 4, 5}
    for sample in drawn:
        owners = {int(name[1 : name.index("-")]) for name in sample.concepts}
        assert owners == set(sample.lessons) and len(owners) == sample.strategy
        assert len(set(sample.concepts)) == len(sample.concepts) and not sample.fell_back


def test_a_course_of_one_session_falls_back_to_it_and_says_so():
    drawn = sampling.samples([course(4, 0)], "train", 10, Spec(single=0.5), 42)
    assert {sample.strategy for sample in drawn} == {1} and sum(sample.fell_back for sample in drawn) == 5


def test_every_question_has_a_fresh_sample_and_seed_and_courses_take_turns():
    drawn = sampling.samples([course(5, 5), course(5, 5, name="d")], "train", 200, Spec(), 42)
    assert len({sample.seed for sample in drawn}) == len({sample.sample_id for sample in drawn}) == 200
    assert len({frozenset(sample.concepts) for sample in drawn}) > 150
    assert sum(sample.syllabus_id == "syllabus c" for sample in drawn) == 100


def test_samples_are_the_same_in_another_process_and_differ_by_seed_and_purpose():
    code = (
        "from tests.data_builders.test_glan_parts import course, sampling, Spec;"
        "print([s.sample_id for s in sampling.samples([course(3, 4)], 'train', 9, Spec(), 7)])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    here = [sample.sample_id for sample in sampling.samples([course(3, 4)], "train", 9, Spec(), 7)]
    assert told == str(here)
    for purpose, seed in (("train", 8), ("seen", 7)):
        others = {sample.sample_id for sample in sampling.samples([course(3, 4)], purpose, 9, Spec(), seed)}
        assert others.isdisjoint(here)


def test_a_share_of_concepts_is_held_out_whatever_their_spelling_and_course():
    courses = [course(5, 5), course(5, 5, name="C"), course(10, name="d")]
    held = held_out(courses, 0.2, 42)
    assert len(held) == 4 and held == held_out(courses[::-1], 0.2, 42) != held_out(courses, 0.2, 43)
    kept = courses[1].only(lambda name: name.casefold() not in held)
    assert held.isdisjoint(name.casefold() for name in kept.concepts) and len(kept.lessons) == 2


# Reading replies

GOOD = '{"subject_name": "Waves", "level": "advanced", "subtopics": ["sound", "light"]}'


@pytest.mark.parametrize(
    ("text", "found", "bad"),
    [
        (GOOD, 1, 0),
        (f"```jsonl\n{GOOD}\n{GOOD}\n```", 2, 0),
        (f"Here it is:\n\n```json\n{GOOD},\n\n```\nDone.", 1, 0),
        (f"Here it is:\n{GOOD}\nThat is all.", 1, 0),
        (GOOD.replace('"light"]', '"light",],'), 1, 0),
        (f"```jsonl\n{GOOD}\nand so on\n```", 1, 1),
        (f'{GOOD}\n{{"subject_name": "Heat", "level": 2}}\n{{"subject_name": "He', 1, 2),
        (f"[\n{GOOD.replace('advanced', '3')},\n{GOOD}\n]", 2, 0),
        (f"```jsonl\n{GOOD}\n{GOOD[:30]}", 1, 1),
    ],
)
def test_subject_lines_are_read_from_fences_and_prose_and_bad_lines_are_counted(text, found, bad):
    subjects = read_subjects(text)
    assert (len(subjects.found), len(subjects.bad)) == (found, bad)
    assert subjects.found[0].subject_name == "Waves" and subjects.found[0].subtopics == ["sound", "light"]


@pytest.mark.parametrize("text", ["", "No subjects.", "{}", "```\nnothing\n```"])
def test_a_reply_without_any_subject_is_asked_for_again(text):
    with pytest.raises(Unusable):
        read_subjects(text)


def test_sessions_without_a_concept_of_their_own_and_beyond_the_cap_are_counted():
    parts = [("a", ["x", "Y"]), ("b", ["y"]), ("c", ["z"]), ("d", ["w"])]
    outline = Outline(lessons=[{"name": name, "key_concepts": concepts} for name, concepts in parts])
    ledger = Ledger()
    lessons = lessons_of(outline, 2, ledger, "s")
    assert [(lesson.idx, lesson.name, lesson.key_concepts) for lesson in lessons] == [
        (0, "a", ("x", "Y")),
        (1, "c", ("z",)),
    ]
    totals = ledger.totals()
    assert totals["sessions"]["dropped"] == 2 and totals["concepts"]["reasons"] == {"named before in this syllabus": 1}


# Filters and coverage


def written(*texts, answers=(), disciplines=()):
    """Answered questions; the answer and discipline of each, or the same for all."""
    sample = sampling.samples([course(2)], "train", 1, Spec(), 0)[0]
    return [
        Written(
            replace(sample, discipline=disciplines[place] if disciplines else "d"),
            course(2),
            None,
            Pair(f"q{place}", text, answers[place] if answers else "It is so.", "m", 0.7, 0.95, "k"),
        )
        for place, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    "answer",
    ["I do not know.", "i DON'T know!", "Sorry, but I cannot answer that.", "As an AI, I can not."],
)
def test_refusals_are_counted_in_any_case_and_dropped_only_where_asked(answer):
    made, ledger = written("One?", answers=[answer]), Ledger()
    kept, figures = filters.filtered(made, Filters(), ledger)
    assert kept == made and figures["refusals"] == 1
    kept, _ = filters.filtered(made, Filters(refusals="drop"), ledger)
    assert not kept and ledger.totals()["filters"]["reasons"] == {"refusal": 1}
    assert not filters.is_refusal("What is not known is called unknown; we know it by its name.")


LONG = "A train of mass five tons rolls down a slope of ten degrees; how fast is it after twenty metres of track"


def test_near_duplicates_are_only_counted_in_faithful_mode_and_merged_where_asked():
    made = written(f"{LONG}?", f"{LONG} or so?", "Why is the sky blue at noon and red in the evening?", f"{LONG}?")
    kept, figures = filters.filtered(made, Filters(), Ledger())
    assert kept == made and figures["repeats"]["near"] == 2 and figures["repeats"]["exact"] == 1
    assert sum(figures["repeats"]["bins"]) == 4 and "similarity" not in figures
    kept, figures = filters.filtered(made, Filters(near_duplicates=0.8), Ledger())
    assert kept == [made[0], made[2]] and sum(figures["similarity"]["bins"]) == 4


def test_length_and_quota_are_filters_of_their_own():
    made = written("a?", "b?", "c?", "d?", answers=["It is so."] * 3 + ["no"], disciplines="xxyy")
    assert filters.filtered(made, Filters(quota=1), Ledger())[0] == [made[0], made[2]]
    assert filters.filtered(made, Filters(shortest=2), Ledger())[0] == made[:3]
    assert filters.filtered(made, Filters(longest=2), Ledger())[0] == made[3:]


def test_coverage_counts_concepts_and_pairs_once_and_grows():
    sets = [["a", "b"], ["b", "a"], ["c"], ["a", "c", "d"]]
    assert coverage.distinct(sets) == (4, 4)
    assert coverage.growth(sets, (1, 2, 4, 8)) == [(1, 2, 1), (2, 2, 1), (4, 4, 4)]
    assert coverage.repeats(["one two three", "one two three", "four five six"])["exact"] == 1


# The expert's bank


def test_the_bank_covers_ten_disciplines_of_the_taxonomy_with_twelve_concepts_or_more():
    bank, names = read_bank(builder.SHIPPED), {entry.discipline for entry in read_taxonomy(builder.SHIPPED)}
    assert len(bank.chapters) >= 10 and bank.chapters.keys() <= names
    for name in bank.chapters:
        assert sum(discipline == name for discipline, _ in bank.concepts) >= 12
    assert sum(concept.formula is not None for concept in bank.concepts.values()) >= 40


def test_every_wording_is_known_again_and_answered_by_what_the_bank_states():
    bank = read_bank(builder.SHIPPED)
    solver, rng = Solver(bank), random.Random(0)
    for concept in bank.concepts.values():
        for form in wordings.MEANING:
            reply = solver.answer(form.format(noun=concept.noun))
            assert f"<answer>{concept.meaning}</answer>" in reply, (form, reply)
        for form in wordings.RELATION[concept.relation[0]]:
            reply = solver.answer(form.format(noun=concept.noun, name=concept.name))
            assert f"<answer>{concept.relation[1]}</answer>" in reply, (form, reply)
        other = rng.choice([entry for entry in bank.concepts.values() if entry is not concept])
        names = join_words([other.noun, concept.noun])
        for form in (*wordings.TERM, *wordings.WHICH):
            assert f"<answer>{concept.name}</answer>" in solver.answer(
                form.format(names=names, meaning=concept.meaning)
            )


def test_the_expert_says_nothing_to_a_question_that_it_does_not_know():
    solver = Solver(read_bank(builder.SHIPPED))
    assert solver.answer("What is the meaning of life?") is None
    assert solver.answer("What is momentum?\nA) a\nB) b\nC) c\nD) d\nGive the right option in <answer> tags.") is None
    assert solver.answer("Use momentum: mass m = 2 kg. Find the momentum.") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name = "impulse"', 'name = "Momentum"'), "stands also at"),
        (('expression = "m * v"', 'expression = "m * w"'), "w in m"),
        (('meaning = "motion under gravity alone"', f'meaning = "{"very " * 12}slow"'), "longer than"),
        (('relation = ["is measured in", "watts"]', 'relation = ["likes", "watts"]'), "Input should be"),
        (("[10, 20, 25, 40, 60, 80, 150, 300]", "[0]"), "fewer than 8 combinations"),
    ],
)
def test_a_fault_in_the_bank_is_named(tmp_path, change, message):
    (tmp_path / "bank").mkdir()
    text = (builder.SHIPPED / "bank" / "mechanics.toml").read_text(encoding="utf-8")
    (tmp_path / "bank" / "mechanics.toml").write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        read_bank(tmp_path)
    assert message in str(caught.value)


# Questions to a model


def test_earlier_turns_and_top_p_are_part_of_a_question_and_old_keys_stay_as_they_were():
    plain = Chat("a", "m", "Be kind.", "Q?", None, 1.0, 9, "p/1")
    asked = ["m", plain.messages, None, 1.0, 9, 0, "p/1"]
    assert plain.key == hashlib.sha256(encode_json(asked).encode()).hexdigest()
    assert len({plain.key, replace(plain, top_p=0.95).key, replace(plain, earlier=(("P?", "R."),)).key}) == 3
    turns = replace(plain, system="", earlier=(("P?", "R."),)).messages
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]


def test_no_wording_of_a_relation_presumes_more_than_its_verb():
    """`needs` does not say that there is no mode without counting, nor `has` that all else is untrue."""
    for verb, texts in wordings.RELATION.items():
        stem = verb.split()[0].rstrip("s").removesuffix("e")
        if verb.startswith(("is ", "comes", "consists")):
            continue
        assert all(stem in text or (verb == "has" and "have" in text) for text in texts), verb
    assert not any("Without" in text or "true of" in text for texts in wordings.RELATION.values() for text in texts)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('["Geology"]\n"index fosil" = ["dating of rocks"]', "no concept 'index fosil' in Geology"),
        ('["Geology"]\n"index fossil" = ["dating"]', "index fossil: no other concept has 'dating'"),
        ('["Geology"]\n"half-life" = ["dating of rocks"]', "half-life: no other concept has 'dating of rocks'"),
        ("[", "also_true.toml: "),
    ],
)
def test_an_entry_of_also_true_that_names_nothing_is_a_fault(tmp_path, line, fault):
    shutil.copytree(builder.SHIPPED / "bank", tmp_path / "bank")
    assert read_bank(tmp_path).also == {} and len(read_bank(builder.SHIPPED).also) > 30
    (tmp_path / "also_true.toml").write_text(line, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        read_bank(tmp_path)
    assert fault in str(caught.value)


def test_the_values_found_by_hand_to_be_right_too_are_no_wrong_options():
    also = read_bank(builder.SHIPPED).also
    found = {
        ("Geology", "index fossil"): "dating of rocks",
        ("Microeconomics", "deadweight loss"): "a price held too low",
        ("Microeconomics", "public good"): "too much or too little output",
        ("Statistics", "p value"): "spread and sample size",
    }
    assert all(value in also[key] for key, value in found.items())
