"""The store of replies: kept at once, asked by one at a time, for good."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from data_builders.llm.chat import Raw
from data_builders.llm.store import Store
from recipes.base.errors import RecipeError
from tests.helpers.served import ask, chat, served
from tests.helpers.teacher_server import Server

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".replies.sqlite"


def rows(path):
    with sqlite3.connect(path) as db:
        return db.execute("SELECT key, root, content FROM replies ORDER BY rowid").fetchall()


def test_a_reply_is_there_for_the_next_process_and_only_for_the_same_question(path):
    first = Store(path)
    first.put(chat(1), chat(1).key, Raw("a", "stop", 5, 7, 0.5))
    again = Store(path)
    assert again.get(chat(1).key) == Raw("a", "stop", 5, 7, 0.5)
    others = [chat(2), chat(1, temperature=0.0), chat(1, max_tokens=9), chat(1, prompt_version="test/2"), chat(1, None)]
    others += [chat(1, draw=1), chat(1).mend(Raw("x"), "bad")]
    assert len({other.key for other in others} | {chat(1).key}) == 8
    assert all(again.get(other.key) is None for other in others)


def test_where_a_model_is_reached_and_how_it_is_asked_for_json_make_no_other_question(path):
    with served(Server()) as one:
        ask(one, path, [chat(n) for n in range(4)])
    with served(Server(schema=False)) as two:
        _, asker = ask(two, path, [chat(n) for n in range(6)])
    assert (asker.counts["stored"], asker.counts["asked"]) == (4, 2)


def test_a_claim_keeps_a_question_from_others_until_it_is_answered_given_up_or_its_owner_is_dead(path):
    one, two = Store(path), Store(path)
    assert one.claim("k") and not two.claim("k") and not one.claim("k")
    one.release("k")
    assert two.claim("k")
    two.put(chat(1), "r", Raw("a"))
    assert not one.claim(chat(1).key), "it has a reply"
    child = multiprocessing.get_context("spawn").Process(target=_claim_and_die, args=(path,))
    child.start()
    child.join()
    assert Store(path).claim("d"), "its owner was killed"


def _claim_and_die(path):
    Store(path).claim("d")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_claim_of_another_machine_lapses_without_a_sign_of_life(path, monkeypatch):
    one, two = Store(path), Store(path)
    assert one.claim("k") and not two.claim("k")
    one.db.execute("UPDATE owners SET seen = seen - 60 WHERE owner = ?", (one.owner,))
    assert two.claim("k")


@pytest.mark.slow
def test_two_processes_at_once_share_every_question(path):
    script = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.helpers.served import ask, chat
answers, asker = ask(sys.argv[1], Path({str(path)!r}), [chat(n) for n in range(60)], timeout=30.0)
assert all(answer.value for answer in answers)
print(asker.counts["asked"], asker.counts["stored"])
"""
    server = Server(latency=0.02)
    with served(server) as url:
        both = [subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE) for _ in range(2)]
        counts = [list(map(int, process.communicate()[0].split())) for process in both]
    assert sum(asked for asked, _ in counts) == 60 == server.done, counts
    assert [sum(pair) for pair in counts] == [60, 60]


def test_a_kill_9_keeps_what_was_answered_and_asks_only_the_rest(path):
    script = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.helpers.served import ask, chat
ask(sys.argv[1], Path({str(path)!r}), [chat(n) for n in range(200)], concurrency=4, concurrency_start=4)
"""
    server = Server(latency=0.02)
    with served(server) as url:
        server.run_until_held([sys.executable, "-c", script, url], 20)
        kept = len(rows(path))
        assert 20 - 4 <= kept <= server.done == 20
        server.hold_after = None
        answers, asker = ask(url, path, [chat(n) for n in range(200)])
    assert asker.counts == {"asked": 200 - kept, "stored": kept} and all(answer.value for answer in answers)
    assert len({line["asked"] for line in server.lines}) == 200 and server.done <= 204


def test_a_reply_asked_for_again_is_kept_under_the_question_it_began_with(path):
    with served(Server(faults=1.0, only=("wrong schema", "empty"))) as url:
        (answer,), _ = ask(url, path, [chat(1)])
    assert answer.value and answer.key == chat(1).key
    assert {root for _, root, _ in rows(path)} == {chat(1).key} and len(rows(path)) == 3


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\x00" + bytes(200)])
def test_a_damaged_store_is_a_clear_error_and_is_not_overwritten(path, content):
    path.write_bytes(content)
    with pytest.raises(RecipeError, match="cannot be used") as error:
        Store(path)
    assert str(path) in str(error.value) and path.read_bytes() == content


def test_a_store_of_another_format_is_refused(path):
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(RecipeError, match="cannot be used"):
        Store(path)
