"""The expert teacher and the protocol of teachers: what a record says, ids and order."""

from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from data_builders.analogseeker.expert import Expert
from data_builders.analogseeker.protocol import Reply, Request, in_order
from data_builders.core.ledger import Ledger
from data_builders.sources.reader import read_corpus
from recipes.base.errors import RecipeError

SMALL = Path(__file__).parents[1] / "fixtures" / "small_corpus"


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


def many():
    return [
        request(subject, "open", wording) for subject in ("divider-series", "capacitor-ramp") for wording in range(5)
    ]


def test_every_reply_is_announced_once_as_it_arrives():
    arrived = []
    replies = in_order(Expert(), many(), arrived.append)
    assert arrived == replies and [reply.request for reply in replies] == [item.id for item in many()]


def test_a_teacher_that_mixes_up_ids_or_leaves_some_out_is_a_clear_error():
    class Reversing(Expert):
        def ask(self, requests, arrived):
            return reversed(list(super().ask(requests, arrived)))

    with pytest.raises(RecipeError, match="does not belong"):
        in_order(Reversing(), many(), lambda reply: None)

    class Lazy(Expert):
        def ask(self, requests, arrived):
            return list(super().ask(requests, arrived))[:-1]

    with pytest.raises(RecipeError, match="too few"):
        in_order(Lazy(), many(), lambda reply: None)
