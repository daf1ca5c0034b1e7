"""The expert teacher and the store of replies: what a record says, and that nothing is asked twice."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from data_builders.corpus.reader import read_corpus
from data_builders.quality.ledger import Ledger
from data_builders.schema import DataError
from data_builders.teacher.expert import Expert
from data_builders.teacher.protocol import Reply, Request
from data_builders.teacher.store import ask_stored

SMALL = Path(__file__).parent / "fixtures" / "small_corpus"
ROOT = Path(__file__).parents[1]


def subjects():
    facts = read_corpus(SMALL, 5, 10000, Ledger()).facts.values()
    return {item.id: item.model_dump(mode="json") for entry in facts for item in (*entry.fact, *entry.formula)}


def request(subject, kind, wording=0, draw=0, values=None):
    subject = subjects()[subject]
    return Request("node", "family", subject["stance"], kind, wording, draw, "sft", subject, values, 42)


def ask(*requests):
    return list(Expert().ask(requests))


def test_an_open_record_states_the_fact_and_answers_with_it():
    (reply,) = ask(request("divider-series", "open", wording=2))
    assert reply.question == "A voltage divider has two resistors. In which way are they joined?"
    assert reply.thinking == "The resistors of a voltage divider are in series and carry the same current."
    assert (reply.solution, reply.answer, reply.options) == ("So: in series.", "in series", None)


def test_a_choice_record_has_the_right_option_where_its_letter_says():
    for draw in range(8):
        (reply,) = ask(request("divider-load", "mcq", draw=draw))
        assert len(set(reply.options)) == 4
        assert reply.options["ABCD".index(reply.answer)] == "the output voltage falls"
        assert reply.solution == "So the right option is: the output voltage falls."


def test_letters_are_even_over_draws_and_distractors_vary():
    replies = [ask(request("divider-load", "mcq", wording, draw))[0] for wording in range(5) for draw in range(4)]
    assert set(Counter(reply.answer for reply in replies).values()) == {5}
    assert len({frozenset(reply.options) for reply in replies}) > 1, "four misconceptions, three shown"


def test_a_calculation_is_worked_in_the_form_the_base_model_knows():
    (reply,) = ask(request("divider-output", "calc", values={"Vin": "6", "R1": "2", "R2": "4"}))
    assert reply.question == (
        "A voltage divider has input voltage Vin = 6 V, upper resistance R1 = 2 kOhm and lower "
        "resistance R2 = 4 kOhm. Find the output voltage."
    )
    assert reply.thinking == "Vout = Vin * R2 / (R1 + R2) = 6 * 4 / (2 + 4) = 24 / (2 + 4) = 24 / 6 = 4"
    assert (reply.solution, reply.answer) == ("The output voltage is 4 V.", "4 V")


def test_numeric_options_come_from_typical_mistakes_and_are_well_apart():
    (reply,) = ask(request("divider-output", "mcq", values={"Vin": "6", "R1": "2", "R2": "4"}))
    right = reply.options["ABCD".index(reply.answer)]
    assert right == "4 V"
    assert {"2 V", "12 V"} < set(reply.options), "the two wrong expressions of the formula"
    values = [float(option.split()[0]) for option in reply.options]
    assert all(abs(a - b) > 0.02 * b for index, a in enumerate(values) for b in values[:index])


def test_values_that_are_not_exact_are_declined_with_a_reason():
    (reply,) = ask(request("parallel-current", "calc", values={"V": "2", "R": "3"}))
    assert reply.declined and not reply.answer


def test_replies_keep_ids_and_order_and_follow_the_schema_of_the_request():
    requests = [request("divider-series", "open", wording) for wording in (3, 1, 2)]
    replies = ask(*requests)
    assert [reply.request for reply in replies] == [item.id for item in requests]
    assert set(requests[0].schema["properties"]) == set(replies[0].model_dump())
    with pytest.raises(ValidationError):
        Reply.model_validate({"request": "r", "answr": "x"})


class Counting:
    """Answers like the expert, counts the requests, and can stop after some."""

    name, version = "counting", 1

    def __init__(self, most=None):
        self.asked, self.most = [], most

    def ask(self, requests):
        for reply in Expert().ask(requests):
            if self.most is not None and len(self.asked) >= self.most:
                raise KeyboardInterrupt
            self.asked.append(reply.request)
            yield reply


def many():
    return [
        request(subject, "open", wording) for subject in ("divider-series", "capacitor-ramp") for wording in range(5)
    ]


def test_an_interrupted_run_asks_only_what_is_missing(tmp_path):
    path, requests, first = tmp_path / "replies.jsonl", many(), Counting(most=4)
    with pytest.raises(KeyboardInterrupt):
        ask_stored(first, requests, path, lambda reply: None)
    assert len(path.read_text().splitlines()) == 4, "each reply is on disk as it arrives"
    second, arrived = Counting(), []
    replies = ask_stored(second, requests, path, arrived.append)
    assert first.asked + second.asked == [item.id for item in requests]
    assert [reply.request for reply in replies] == [item.id for item in requests]
    assert len(arrived) == len(requests)
    third = Counting()
    assert ask_stored(third, requests, path, lambda reply: None) == replies and third.asked == []


def test_a_last_line_cut_off_by_a_kill_is_asked_again(tmp_path):
    path, requests = tmp_path / "replies.jsonl", many()
    whole = ask_stored(Counting(), requests, path, lambda reply: None)
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    again = Counting()
    assert ask_stored(again, requests, path, lambda reply: None) == whole
    assert again.asked == [requests[-1].id]
    assert path.read_bytes() == content


def test_a_kill_9_in_the_middle_loses_at_most_the_line_in_flight(tmp_path):
    script = f"""
import sys, time
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from pathlib import Path
import test_builder_teacher as tests
class Slow(tests.Counting):
    def ask(self, requests):
        for reply in super().ask(requests):
            time.sleep(0.05)
            yield reply
tests.ask_stored(Slow(), tests.many(), Path({str(tmp_path / "replies.jsonl")!r}), lambda reply: None)
"""
    path = tmp_path / "replies.jsonl"
    process = subprocess.Popen([sys.executable, "-c", script])
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = path.read_bytes().count(b"\n")
    assert 3 <= kept < 10
    rest = Counting()
    assert len(ask_stored(rest, many(), path, lambda reply: None)) == 10
    assert len(rest.asked) == 10 - kept


def test_another_teacher_does_not_get_the_first_ones_replies(tmp_path):
    path, requests = tmp_path / "replies.jsonl", many()
    ask_stored(Counting(), requests, path, lambda reply: None)
    other = Counting()
    other.version = 2
    ask_stored(other, requests, path, lambda reply: None)
    assert len(other.asked) == len(requests)


def test_the_same_request_twice_is_asked_once(tmp_path):
    teacher, item = Counting(), many()[0]
    assert len(ask_stored(teacher, [item, item], tmp_path / "r.jsonl", lambda reply: None)) == 2
    assert teacher.asked == [item.id]


def test_a_damaged_line_and_a_teacher_that_mixes_up_ids_are_clear_errors(tmp_path):
    path, requests = tmp_path / "replies.jsonl", many()
    ask_stored(Counting(), requests, path, lambda reply: None)
    lines = path.read_text().splitlines()
    lines[1] = json.dumps({"key": "x", "reply": {"no": 1}})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="damaged") as error:
        ask_stored(Counting(), requests, path, lambda reply: None)
    assert "replies.jsonl:2" in str(error.value)

    class Reversing(Counting):
        def ask(self, requests):
            return reversed(list(super().ask(requests)))

    with pytest.raises(DataError, match="does not belong"):
        ask_stored(Reversing(), requests, tmp_path / "other.jsonl", lambda reply: None)

    class Lazy(Counting):
        def ask(self, requests):
            return list(super().ask(requests))[:-1]

    with pytest.raises(DataError, match="too few"):
        ask_stored(Lazy(), requests, tmp_path / "lazy.jsonl", lambda reply: None)
