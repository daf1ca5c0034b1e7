"""How fast the openai teacher asks, when it holds back, and what ends a run."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from data_builders.llm.asking import open_teacher
from data_builders.llm.chat import Raw
from data_builders.llm.pace import Budget, BudgetSpent, Pace
from data_builders.llm.store import Store
from recipes.base.errors import RecipeError
from tests.helpers.served import ask, chat, served, table
from tests.helpers.teacher_server import Server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".replies.sqlite"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_the_pace_doubles_until_failures_halve_it_once_for_all_that_were_out_and_recovers_ever_faster():
    clock = Clock()
    pace = Pace(4, 64, 10, clock)

    def round_trip(good=True):
        pace.out, start = int(pace.limit), clock.now
        clock.now += 1
        for _ in range(pace.out):
            pace.good("x", start) if good else pace.bad(start, refused=False)

    round_trip()
    assert pace.limit == 8
    for _ in range(5):
        round_trip()
    assert pace.limit == 64, "the most that is allowed"
    round_trip(good=False)
    assert pace.limit == 32
    round_trip()
    assert 32 < pace.limit < 33, "slowly at first, as this may be all that fits"
    for _ in range(7):
        round_trip()
    assert pace.limit == 64


def test_the_number_stays_at_the_room_of_the_server_and_little_is_refused():
    clock = Clock()
    pace = Pace(8, 1000, 10, clock)
    fitted, refused = [], []
    for _ in range(60):
        pace.out, start = int(pace.limit), clock.now
        refused.append(max(0, pace.out - 64))
        fitted.append(pace.out - refused[-1])
        clock.now += 0.001
        for _ in range(refused[-1]):
            pace.bad(start, refused=True)
        clock.now += 1
        for _ in range(fitted[-1]):
            pace.good("x", start)
    assert fitted[:4] == [8, 16, 32, 64] and min(fitted[3:]) >= 63
    assert refused[4] == 64 and sum(refused[5:]) < 0.02 * sum(fitted[5:])


def test_a_failure_now_and_then_is_no_overload_and_many_are():
    clock = Clock()
    pace = Pace(64, 64, 10, clock)
    for _ in range(5):
        clock.now += 1
        pace.bad(clock.now, refused=False)
        for _ in range(30):
            pace.good("x", clock.now)
    assert pace.limit == 64
    for _ in range(6):
        clock.now += 1
        pace.bad(clock.now, refused=False)
    assert pace.limit == 32


@pytest.mark.parametrize(("refused", "left"), [(1, 99), (36, 64), (90, 50)])
def test_refusals_of_requests_that_were_out_together_take_one_each_and_half_at_most(refused, left):
    clock = Clock()
    pace = Pace(100, 128, 10, clock)
    clock.now += 1
    for _ in range(refused):
        pace.bad(0.0, refused=True)
    assert pace.limit == left


def test_a_pause_holds_for_every_request():
    async def pause():
        pace = Pace(4, 4, 10)
        start = await pace.enter()
        pace.bad(start, True, 0.3)
        pace.leave()
        began = time.monotonic()
        await asyncio.gather(pace.enter(), pace.enter())
        return time.monotonic() - began

    assert asyncio.run(pause()) > 0.29


def test_the_pace_does_not_grow_while_replies_get_slower():
    clock = Clock()
    pace = Pace(8, 64, 10, clock)
    for latency in (1.0, 3.0):
        for _ in range(8):
            pace.out, start = int(pace.limit), clock.now
            clock.now += latency
            pace.good("x", start)
        assert pace.limit == 16


@pytest.mark.parametrize("only", [("429",), ("429 date",)])
def test_nothing_is_sent_before_the_time_that_the_server_asks_for(path, only, monkeypatch):
    sent = []
    server = Server(faults=1.0, only=only)

    async def passing(fault, request):
        from tests.helpers.teacher_server import _error, email

        sent.append(time.time())
        wait = "1" if fault == "429" else email.utils.formatdate(time.time() + 1.5, usegmt=True)
        return _error(429, "slow down", {"Retry-After": wait})

    server.passing = passing
    monkeypatch.setattr("tests.helpers.teacher_server.STUBBORN", 1)
    with served(server) as url:
        ask(url, path, [chat(1)])
        done = time.time()
    assert len(sent) == 1 and done - sent[0] > (0.99 if only == ("429",) else 0.45)


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"max_requests": 7}, "max_requests"),
        ({"max_tokens": 200}, "max_tokens"),
        ({"max_cost": 0.002, "price_in": 10.0, "price_out": 10.0, "price_date": "2026-11-01"}, "max_cost"),
    ],
)
def test_a_budget_ends_the_run_with_everything_kept_and_the_same_command_spends_nothing_more(path, limits, name):
    server, chats = Server(latency=0.01), [chat(n) for n in range(40)]
    with served(server) as url:
        with pytest.raises(BudgetSpent, match="every reply is kept") as error:
            ask(url, path, chats, **limits)
        assert f"data.teacher.{name}" in str(error.value) and 0 < server.done < 40
        assert name != "max_requests" or server.done == 7
        first = server.done
        with pytest.raises(BudgetSpent):
            ask(url, path, chats, **limits)
        assert server.done <= first + (name != "max_requests"), "what is not yet known may leave room for one more"
        spent, asker = ask(url, path, chats)
    assert len(spent) == 40 and server.done == 40 and asker.budget.requests == 40


class Uneven(Server):
    """Replies with ten words, to questions from number 40 on with three hundred."""

    def completion(self, payload, fault):
        words = 10 if int(payload["messages"][1]["content"].split()[1]) < 40 else 300
        made = super().completion(payload, fault)
        made["choices"][0]["message"]["content"] = " ".join(["word"] * words)
        made["usage"]["completion_tokens"] = words
        return made


def test_a_budget_holds_where_agents_write_very_different_lengths(path):
    chats = [chat(n, None, max_tokens=30 if n < 40 else 400) for n in range(80)]
    chats = [replace(one, agent="short" if n < 40 else "long") for n, one in enumerate(chats)]
    server, limits = Uneven(latency=0.02), {"max_cost": 0.004, "price_out": 1.0, "price_date": "2026-11-01"}
    with served(server) as url:
        asker = open_teacher(table(url, **limits), path)
        with pytest.raises(BudgetSpent, match="max_cost"):
            asker.each(chats, asker.ask)
        asker.close()
    assert server.done == 52 and asker.budget.cost == pytest.approx(0.004), "40 of 10 words and 12 of 300"


def test_a_reasoner_is_paid_at_its_own_price(path):
    prices = {"price_in": 1.0, "price_out": 2.0, "reasoner": "r", "reasoner_price_in": 10.0, "reasoner_price_out": 20.0}
    chats = [chat(1), replace(chat(2), model="r")]
    with served(Server()) as url:
        _, asker = ask(url, path, chats, price_date="2026-11-01", **prices)
    (cheap, dear) = (Store(path).get(one.key) for one in chats)
    cost = cheap.tokens_in + 2 * cheap.tokens_out + 10 * dear.tokens_in + 20 * dear.tokens_out
    assert asker.figures()["cost"] == pytest.approx(cost / 1e6)


def test_a_question_that_does_not_fit_waits_for_those_in_flight_and_an_end_reaches_all_that_wait(path):
    async def several():
        budget = Budget(table("http://h/v1", max_tokens=250))
        first, second = await budget.enter(chat(1)), await budget.enter(chat(2))
        waiting = [asyncio.create_task(budget.enter(chat(n))) for n in (3, 4, 5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        budget.count(chat(1), Raw("", tokens_in=5, tokens_out=90))
        budget.leave(first)
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting[1:]), "95 used, 105 reserved"
        budget.count(chat(2), Raw("", tokens_in=5, tokens_out=30))
        budget.leave(second)
        need = await waiting[1]
        assert need["max_tokens"] == 65 and not waiting[2].done(), "a reply of the mean length"
        budget.count(chat(4), Raw("", tokens_in=5, tokens_out=60))
        budget.leave(need)
        with pytest.raises(BudgetSpent):
            await waiting[2]
        with pytest.raises(BudgetSpent):
            await budget.enter(chat(6))

    asyncio.run(several())


def test_an_endpoint_that_is_not_there_is_named_before_much_time_is_lost(path):
    with socket.socket() as silent:  # bound, so that nobody else listens there
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(RecipeError, match="endpoint is down") as error:
            ask(url, path, [chat(n) for n in range(50)], patience=1.0)
    assert url in str(error.value) and "connection" in str(error.value)


@pytest.mark.parametrize(("status", "words"), [(401, "accept the key"), (404, "does not know the path or the model")])
def test_a_refused_key_or_unknown_model_costs_one_request(path, status, words):
    server = Server()

    async def refuse(request):
        from tests.helpers.teacher_server import _error

        server.lines.append(1)
        return _error(status, f"no: {request.headers['Authorization']}")

    server.chat = refuse
    with served(server) as url, pytest.raises(RecipeError, match=words):
        ask(url, path, [chat(n) for n in range(50)])
    assert len(server.lines) == 1


def test_a_question_that_breaks_the_server_is_given_up_and_all_others_are_answered(path, monkeypatch):
    monkeypatch.setattr("data_builders.llm.asking.backoff", lambda attempt: 0.01)
    server, whole = Server(), Server.chat

    async def poisoned(request):
        from tests.helpers.teacher_server import _error

        payload = await request.json()
        return (
            _error(500, "boom") if payload["messages"][1]["content"] == "Question 5" else await whole(server, request)
        )

    server.chat = poisoned
    with served(server) as url:
        answers, _ = ask(url, path, [chat(n) for n in range(9)], patience=0.01)
    assert [answer.value is None for answer in answers] == [n == 5 for n in range(9)]
    assert answers[5].dropped == "text: no reply, HTTP 500 8 times"


def test_an_endpoint_that_rejects_every_question_is_asked_a_few_times_only(path):
    server = Server()

    async def reject(request):
        from tests.helpers.teacher_server import _error

        server.lines.append(1)
        return _error(400, "model m is not loaded")

    server.chat = reject
    with served(server) as url, pytest.raises(RecipeError, match="rejects every question") as error:
        ask(url, path, [chat(n, None) for n in range(50)])
    assert len(server.lines) == 5 and "not loaded" in str(error.value)


def test_one_teacher_asks_several_rounds_of_questions(path):
    with served(Server()) as url:
        asker = open_teacher(table(url), path)
        rounds = [asker.each([chat(n) for n in range(start, start + 9)], asker.ask) for start in (0, 9)]
        asker.close()
    assert all(answer.value for answers in rounds for answer in answers) and asker.counts == {"asked": 18}


def test_an_endpoint_that_is_killed_and_started_again_is_waited_for(path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log, answers, said = path.with_name("log"), [], []
    program = str(ROOT / "tests" / "helpers" / "teacher_server.py")

    def start(*options):
        server = subprocess.Popen([sys.executable, program, "--port", str(port), "--log", str(log), *options])
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None
            time.sleep(0.02)
        return server

    def work():
        answers.extend(ask(f"http://127.0.0.1:{port}/v1", path, [chat(n) for n in range(200)], said.append)[0])

    server = start("--hold-after", "40")
    run = threading.Thread(target=work)
    run.start()
    while not log.exists() or len(log.read_text().splitlines()) < 40:
        assert run.is_alive()
        time.sleep(0.01)
    server.kill()
    server.wait()
    while not said:  # that a request has failed
        assert run.is_alive()
        time.sleep(0.01)
    server = start()
    run.join()
    server.kill()
    server.wait()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(answers) == 200 and all(answer.value for answer in answers)
    assert len(lines) <= 200 + 16 and "connection" in said[0], (
        "only what was on its way when the server died is asked twice"
    )
