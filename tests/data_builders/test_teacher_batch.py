"""The batch interface: what is sent, in which order results come back, and that nothing is sent twice after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from data_builders.llm import batch
from data_builders.llm.asking import open_teacher
from data_builders.llm.store import Store
from data_builders.llm.table import Teacher
from recipes.base.errors import RecipeError
from tests.helpers.batch_server import BatchServer
from tests.helpers.served import ask, chat, served, table
from tests.helpers.teacher_server import UNUSABLE, Server
from tests.helpers.turns import count_turns

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_clock(monkeypatch):
    count_turns(monkeypatch.setattr)


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".replies.sqlite"


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The answers to forty questions that were asked one by one."""
    with served(Server()) as url:
        return ask(url, tmp_path_factory.mktemp("single") / "r.sqlite", [chat(n) for n in range(40)])[0]


def sent(server):
    """How often each question stood in a batch."""
    files = [server.files[one["input_file_id"]] for one in server.batches.values()]
    return Counter(json.loads(line)["custom_id"] for file in files for line in file.splitlines())


def batched(url, path, count=40, **changes):
    return ask(url, path, [chat(n) for n in range(count)], batch=True, **changes)


def test_all_questions_go_up_as_one_batch_and_answers_are_those_of_single_requests(path, single):
    server = BatchServer(looks=3)
    with served(server) as url:
        answers, asker = batched(url, path, concurrency=4)
        again, stored = batched(url, path)
    assert answers == single == again and len(server.batches) == 1, "though four may be out at once of single requests"
    assert asker.counts["asked"] == 40 and stored.counts == {"stored": 40}
    assert len(server.headers) == 0, "no single request was made"


def test_replies_serve_single_requests_afterwards(path, single):
    with served(BatchServer()) as url:
        batched(url, path)
        answers, asker = ask(url, path, [chat(n) for n in range(40)])
    assert answers == single and asker.counts == {"stored": 40}


def test_what_failed_or_could_not_be_used_goes_into_the_next_batch(path, single):
    server = BatchServer(faults=0.3, seed=5, only=("500", *UNUSABLE))
    with served(server) as url:
        answers, asker = batched(url, path)
    assert answers == single and 1 < len(server.batches) <= 9
    assert {"500", "answered", "huge"} <= {line["what"] for line in server.lines}
    answered = Counter(line["asked"] for line in server.lines if line["what"] != "500")
    assert set(answered.values()) == {1} and asker.counts["asked"] == len(answered)


def test_what_an_expired_batch_left_out_is_sent_again_and_the_rest_is_kept(path, single):
    server = BatchServer(expire=7)
    with served(server) as url:
        assert batched(url, path)[0] == single
    assert sorted(sent(server).values()) == [1] * 33 + [2] * 7


def test_a_question_that_never_comes_back_is_given_up(path):
    server = BatchServer()
    whole = server.completion
    server.completion = lambda payload, fault: (
        {} if payload["messages"][1]["content"] == "Question 3" else whole(payload, fault)
    )
    with served(server) as url:
        answers, _ = batched(url, path, 9)
    assert answers[3].dropped == "text: no reply from 4 batches" and sum(a.value is None for a in answers) == 1


def test_a_server_that_refuses_schemas_gets_them_in_words(path):
    server = BatchServer(schema=False)
    with served(server) as url:
        answers, _ = batched(url, path, 5)
        batched(url, path, 8)
    assert all(answer.value for answer in answers)
    assert [len(server.files[one["input_file_id"]].splitlines()) for one in server.batches.values()] == [5, 5, 3]


@pytest.mark.parametrize("lose", ["create", "content"])
def test_an_answer_that_got_lost_on_the_way_does_not_send_or_pay_twice(path, single, lose):
    server = BatchServer(lose=[lose])
    with served(server) as url:
        assert batched(url, path)[0] == single
    assert len(server.batches) == 1 and set(sent(server).values()) == {1}


def test_a_batch_that_the_provider_refuses_ends_the_run_with_its_words(path):
    server = BatchServer(refuse="model m does not do batches")
    with served(server) as url, pytest.raises(RecipeError, match="batch has failed") as error:
        batched(url, path)
    assert "does not do batches" in str(error.value) and not Store(path).batches(url)


def test_an_endpoint_without_the_interface_is_named(path):
    with served(Server()) as url, pytest.raises(RecipeError, match="does not know the path"):
        batched(url, path)


def test_large_files_are_cut_into_several_batches(path, single, monkeypatch):
    monkeypatch.setattr(batch, "FILE_BYTES", 5_000)
    server = BatchServer()
    with served(server) as url:
        assert batched(url, path)[0] == single
    assert len(server.batches) > 3 and set(sent(server).values()) == {1}
    assert all(len(server.files[one["input_file_id"]]) <= 5_000 for one in server.batches.values())


SCRIPT = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.helpers.served import ask, chat
from tests.helpers.turns import count_turns
count_turns()
ask(sys.argv[1], Path(sys.argv[2]), [chat(n) for n in range(40)], batch=True)
"""


def killed(url, path, when):
    """A run that is killed by SIGKILL once `when()` holds, which from then on it does: the server holds it there."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, url, str(path)])
    while process.poll() is None and not when():
        time.sleep(0.005)
    alive = process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert alive, "it was killed before it was done"


def test_a_run_killed_while_its_batch_is_out_finds_it_again(path, single):
    server = BatchServer(looks=10**9)
    with served(server) as url:
        killed(url, path, lambda: server.batches and server.batches["batch-0"]["looked"] > 1)
        assert Store(path).db.execute("SELECT id FROM batches").fetchall() == [("batch-0",)], (
            "known before it is polled"
        )
        server.looks = 1
        answers, asker = batched(url, path)
    assert answers == single and asker.counts["asked"] == 40
    assert len(server.batches) == 1 and len(server.files) == 2, "one file up, one down"


def test_a_run_killed_before_it_knew_its_batch_finds_it_in_the_providers_list(path, single):
    server = BatchServer()
    answer = server.lost

    async def silent(call, request):  # the batch is taken, and the answer never comes
        if call == "create":
            await server.held.wait()
        return await answer(call, request)

    server.lost = silent
    with served(server) as url:
        killed(url, path, lambda: server.batches)
        assert Store(path).db.execute("SELECT id FROM batches").fetchall() == [(None,)]
        server.lost = answer
        for _ in range(5):
            server.batches[f"other-{len(server.batches)}"] = {
                **server.batches["batch-0"], "id": f"other-{len(server.batches)}", "metadata": None,
            }  # fmt: skip
        assert batched(url, path)[0] == single
    assert len([id for id in server.batches if id.startswith("batch")]) == 1


def test_a_run_killed_before_anything_was_taken_sends_once(path, single):
    server = BatchServer()
    upload = server.upload

    async def silent(request):
        await server.held.wait()

    server.upload = silent
    with served(server) as url:
        killed(url, path, lambda: path.exists() and _planned(path))
    server.upload = upload
    with served(server) as again:
        db = Store(path)
        db.db.execute("UPDATE batches SET endpoint = ?", (again,))  # the server has come back at another port
        db.close()
        assert batched(again, path)[0] == single
    assert len(server.batches) == 1


def _planned(path):
    import sqlite3

    try:
        with sqlite3.connect(path) as db:
            return db.execute("SELECT COUNT(*) FROM batches").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def test_results_nobody_asks_for_any_more_are_kept_all_the_same(path, single):
    server = BatchServer(looks=10**9)
    with served(server) as url:
        killed(url, path, lambda: server.batches and server.batches["batch-0"]["looked"] > 1)
        server.looks = 1
        answers, _ = batched(url, path, 12)
        rest, asker = ask(url, path, [chat(n) for n in range(40)])
    assert answers == single[:12] and rest == single and asker.counts == {"stored": 40}


def test_a_budget_ends_before_a_batch_is_too_large(path):
    server = BatchServer()
    with served(server) as url:
        with pytest.raises(RecipeError, match="budget is used up"):
            batched(url, path, max_requests=10)
        again = open_teacher(table(url), path)
        again.close()
    assert sum(sent(server).values()) <= 10


@pytest.mark.parametrize(("most", "sizes"), [(0.0102, [10, 30]), (0.0031, [3, 19])])
def test_a_batch_is_no_larger_than_the_budget_allows_before_lengths_are_known(path, single, most, sizes):
    server = BatchServer()
    answer = server.completion

    def of_fourteen_tokens(payload, fault):
        made = answer(payload, fault)
        made["usage"] = {"prompt_tokens": 5, "completion_tokens": 14}
        return made

    server.completion = of_fourteen_tokens
    with served(server) as url:
        asker = open_teacher(table(url, batch=True, max_cost=most, price_out=10.0, price_date="2026-11-01"), path)
        if sum(sizes) == 40:
            assert asker.each([chat(n) for n in range(40)], asker.ask) == single
        else:
            with pytest.raises(RecipeError, match="budget is used up"):
                asker.each([chat(n) for n in range(40)], asker.ask)
        asker.close()
    assert [len(server.files[one["input_file_id"]].splitlines()) for one in server.batches.values()] == sizes
    assert asker.budget.cost == pytest.approx(sum(sizes) * 14e-5) and asker.budget.cost <= most


def test_batches_are_for_endpoints_alone():
    with pytest.raises(ValueError, match=r"teacher\.batch"):
        Teacher(kind="transformers", model="m", batch=True)
