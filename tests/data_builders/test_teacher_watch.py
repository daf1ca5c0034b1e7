"""A model whose replies cannot be used is noticed early: what was asked stays, the rest is not spent."""

import json
import re
import sqlite3

import pytest

from data_builders.core.build import Leaks, Made, finish
from data_builders.core.judge import Item, Judge, judge_items, read_rubric
from data_builders.core.ledger import Ledger, require_rows
from data_builders.core.text_quality import TextQuality, labelled
from data_builders.glan import builder as glan
from data_builders.glan.spec import Spec as GlanSpec
from data_builders.llm import batch
from data_builders.llm.watch import Watch
from data_builders.scilitllm import synthesis
from data_builders.scilitllm.expert import Expert
from data_builders.scilitllm.spec import Spec as SciSpec
from data_builders.sources.repair import Repair, repaired
from recipes.base.errors import RecipeError
from recipes.base.places import ROOT
from recipes.base.reply_form import Exchange
from tests.data_builders.test_builder_analogseeker import build, small
from tests.helpers.batch_server import BatchServer
from tests.helpers.reply_forms import completion
from tests.helpers.served import Bar, ask, chat, served, table
from tests.helpers.teacher_server import Server, answer

pytestmark = pytest.mark.slow

RUBRIC = ROOT / "data_builders" / "analogseeker" / "rubric.toml"
NODE = "A mirror copies the current of its input to its output at a ratio that is set by its devices, number {}."
MANY = 360


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".replies.sqlite"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(batch, "QUIET", 0.05)
    monkeypatch.setattr(batch, "LOOK", 0.02)


def patient(url, **changes):
    return table(url, **{"timeout": 20.0, "patience": 60.0} | changes)


def stored(path):
    with sqlite3.connect(path) as db:
        return db.execute("SELECT count(*) FROM replies").fetchone()[0]


def ask_many(url, path, count=MANY, **changes):
    return ask(url, path, [chat(n) for n in range(count)], timeout=20.0, patience=60.0, **changes)


@pytest.mark.parametrize(
    ("form", "kind", "advice"),
    [
        ("prose", "invalid JSON", "keeps to the form"),
        ("cut", "truncated", "reasoning_tokens"),
        ("reasoning and no answer", "reasoning only", "reasoning parser"),
        ("no choices", "no choices", "server's log"),
        ("filtered", "refused", "another `model`"),
    ],
)
def test_a_model_whose_replies_all_fail_is_stopped_and_nothing_is_asked_again(path, form, kind, advice):
    server = Server(forms=(form,))
    with served(server) as url:
        for _ in range(2):
            with pytest.raises(RecipeError, match=f"cannot be used: {kind}") as error:
                ask_many(url, path)
            assert server.done == stored(path) == 3 * 20, "of 1,080 that it would have cost"
    text = str(error.value)
    assert "data.teacher, model 'm'" in text and "20 questions in a row of agent 'text'" in text
    assert "spent so far: 60 replies" in text and "data.teacher.stop_after" in text and advice in text
    assert "every reply is kept" in text


def test_the_first_reply_is_shown_short_and_without_secrets(path):
    say = f"I would rather not: sk-{'a1' * 20} " + "and so on " * 90
    with served(Server(says=lambda payload: say)) as url, pytest.raises(RecipeError) as error:
        ask_many(url, path)
    assert "I would rather not: *** and so on" in error.value.got and "…" in error.value.got
    assert len(error.value.got) < 500


@pytest.mark.parametrize("most", [5, 60])
def test_the_number_can_be_set(path, most):
    server = Server(forms=("prose",))
    with served(server) as url, pytest.raises(RecipeError, match="invalid JSON"):
        ask_many(url, path, stop_after=most)
    assert server.done == 3 * most


def test_nothing_stops_where_it_is_switched_off(path):
    with served(Server(forms=("prose",))) as url:
        answers, _ = ask_many(url, path, 70, stop_after=0)
    assert {answer.dropped for answer in answers} == {"text: invalid JSON, asked 3 times"}


def test_failures_of_several_kinds_stop_by_their_share(path):
    server = Server(forms=("prose", "empty", "refusal field", "null"))
    with served(server) as url, pytest.raises(RecipeError, match="cannot be used: empty") as error:
        ask_many(url, path)
    assert re.search(r"54 of the first \d+ questions .*empty.*refused", error.value.got) and server.done <= 3 * 60


def test_a_model_that_fails_often_but_not_always_goes_on(path):
    with served(Server(forms=("prose",) * 6 + ("plain",) * 4, seed=1)) as url:
        answers, _ = ask_many(url, path, 120)
    assert 25 < sum(answer.value is not None for answer in answers) < 75


def test_a_model_that_stops_answering_in_form_is_stopped_then(path):
    server, kept = Server(), 100
    server.says = lambda payload: answer(payload) if server.done <= kept else "Prose."
    with served(server) as url, pytest.raises(RecipeError, match="invalid JSON"):
        ask_many(url, path, concurrency=8)
    assert stored(path) == server.done < 250


@pytest.mark.parametrize(("failed", "usable", "row"), [(0, 0, 20), (1, 9, 20), (80, 20, 60)])
def test_where_failures_are_usual_it_takes_more_of_them_in_a_row(failed, usable, row):
    watch = Watch(table("http://h/v1"))
    for number in range(failed + usable):
        if number % (failed + usable) < usable:
            watch.succeed("a", watch.begin("a"))
        else:
            watch.fail("a", watch.begin("a"), f"kind {number}", "", "m", "")
    stops = [watch.fail("a", watch.begin("a"), "empty", "", "m", "") is not None for _ in range(row)]
    assert stops == [False] * (row - 1) + [True]


def test_failures_that_come_sooner_than_answers_are_no_row():
    watch = Watch(table("http://h/v1"))
    begun = [watch.begin("a") for _ in range(100)]
    assert not any(watch.fail("a", number, "refused", "", "m", "") for number in begun if number % 3)
    for number in begun[::3]:
        watch.succeed("a", number)
    assert watch.records["a"].row(1) == 2


# The same for what else asks a model


def tables(url):
    fields = patient(url).model_dump()
    return {
        "judge": Judge.model_validate(fields | {"cut": 1.0}),
        "repair": Repair.model_validate(fields),
        "quality": TextQuality.model_validate(fields),
    }


@pytest.mark.parametrize(("name", "form"), [("judge", "prose"), ("repair", "refusal field"), ("quality", "prose")])
def test_a_judge_a_repair_and_labels_that_never_parse_stop_too(path, name, form):
    texts = [(f"d{n}", NODE.format(n)) for n in range(MANY)]
    items = [Item(id=id, shown="Q?", reply="R", exchange=Exchange(question="Q?"), context=text) for id, text in texts]
    quiet = (path, Bar.open, lambda text: None)
    server = Server(forms=(form,))
    with served(server) as url, pytest.raises(RecipeError, match="cannot be used") as error:
        if name == "judge":
            judge_items(tables(url)[name], read_rubric(RUBRIC), items, *quiet)
        elif name == "repair":
            repaired(tables(url)[name], texts, *quiet)
        else:
            labelled(tables(url)[name], texts, *quiet)
    assert error.value.where == f"data.{name}, model 'm'" and f"data.{name}.stop_after" in error.value.allowed
    assert server.done == stored(path) == 3 * 20


def test_a_batch_of_unusable_replies_is_mended_a_few_at_a_time(path):
    server = BatchServer(forms=("prose",))
    with served(server) as url, pytest.raises(RecipeError, match="invalid JSON"):
        ask_many(url, path, 100, batch=True)
    assert server.done == stored(path) <= 100 + 2 * 20


def test_a_batch_of_errors_alone_is_not_sent_again(path):
    server = BatchServer()
    server.completion = lambda payload, fault: {"error": {"code": 500, "message": "engine is gone"}}
    with served(server) as url, pytest.raises(RecipeError, match="Every line") as error:
        ask_many(url, path, 60, batch=True)
    assert len(server.batches) == 1 and "60 errors" in error.value.got and "engine is gone" in error.value.got


# What was cut is asked for again with room for reasoning, and nothing else


def reasons(server, needed):
    """Let questions with an odd number need so many tokens for reasoning, and be cut where they have fewer."""
    whole, server.limits = server.completion, set()

    def completed(payload, fault):
        server.limits.add(payload["max_tokens"])
        odd = int(payload["messages"][1]["content"].split()[-1]) % 2
        if odd and payload["max_tokens"] < 100 + needed:
            usage = {"prompt_tokens": 5, "completion_tokens": payload["max_tokens"]}
            return completion(None, "length", usage, reasoning_content="Let me think")
        return whole(payload, fault)

    server.completion = completed


def test_replies_that_were_cut_are_asked_for_again_with_tokens_for_reasoning(path):
    server = Server()
    reasons(server, 5000)
    with served(server) as url:
        first, _ = ask_many(url, path, 10)
        assert sum(answer.dropped == "text: truncated, asked 3 times" for answer in first) == 5
        asked = server.done
        ask_many(url, path, 10, reasoning_tokens=1000)
        assert server.done == asked + 15, "five questions, three times"
        answers, asker = ask_many(url, path, 10, reasoning_tokens=8000)
        assert server.done == asked + 20 and asker.counts["asked"] == 5
        again, asker = ask_many(url, path, 10, reasoning_tokens=8000)
    assert server.limits == {100, 1100, 8100}
    assert all(answer.value for answer in answers) and again == answers and asker.counts == {"stored": 10}


# A build that keeps nothing


def analog(url, **changes):
    tests = {"knowledge": 0, "calculation": 0, "transfer": 0}
    return small(teacher=patient(url, **changes).model_dump(), rl_rows=0, tests=tests)


def test_a_build_without_records_is_an_error_with_its_reasons_counted(tmp_path):
    with served(Server(forms=("prose",))) as url, pytest.raises(RecipeError, match="keeps nothing") as error:
        build(analog(url, stop_after=0), tmp_path / "out")
    assert re.search(r"\d+ replies: declined: question: invalid JSON, asked 3 times", error.value.got)
    assert not (tmp_path / "out" / "card.json").exists()


def test_records_that_all_fail_a_gate_stop_the_build_early(tmp_path):
    spoilt = Server(says=lambda payload: answer(payload).replace("In design review", "In Figure 3, review"))
    with served(spoilt) as url, pytest.raises(RecipeError, match="cannot be used") as error:
        build(analog(url), tmp_path / "out")
    assert "20 questions in a row of agent 'record'" in error.value.got and "book" in error.value.what


@pytest.mark.parametrize("stop_after", [0, 20])
def test_glan_and_scilitllm_end_the_same_way(tmp_path, stop_after):
    with served(Server(forms=("prose",))) as url:
        fields = patient(url, stop_after=stop_after).model_dump()
        spec = GlanSpec.model_validate({"disciplines": ["First aid"], "subject_queries": 3, "teacher": fields})
        out = tmp_path / "glan"
        out.mkdir()
        with pytest.raises(RecipeError, match="keeps nothing") as error:
            glan.build(spec, glan.corpus_dir(spec), out, 1, Bar.open, lambda text: None)
        assert "3 subject lists: subjects jsonl: no subject" in error.value.got
        science = SciSpec.model_validate({"teacher": fields})
        jobs = [synthesis.Job("T_F", "science", "sft", ("lens",), draw) for draw in range(60)]
        rest = (tmp_path / "r.sqlite", Ledger(), Bar.open, lambda text: None)
        with pytest.raises(RecipeError, match="cannot be used" if stop_after else "keeps nothing") as error:
            synthesis.records(science, jobs, Expert(set()), *rest)
    assert "synthesis" in error.value.got and "invalid JSON" in str(error.value)


def test_rules_without_a_row_left_end_the_build_too(tmp_path):
    ledger = Ledger()
    ledger.drop("cut", "too long", "x", count=7)
    made = Made([], [], [], [])
    with pytest.raises(RecipeError, match="keeps nothing") as error:
        finish(tmp_path, "b", 1, "About. Limits: none.", made, ledger, Leaks(0.005), lambda text: None)
    assert "7 cut: too long" in error.value.got and "builder b" in error.value.where
    assert json.loads((tmp_path / "ledger.jsonl").read_text())["count"] == 7, "the reasons are on the disk as well"
    require_rows([1], ledger, "rows")
