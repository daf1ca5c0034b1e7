"""A reasoning teacher's traces, in the style of three models: cleaned, kept with their LaTeX, and no record lost."""

import json
import re

import pytest

from data_builders.analogseeker import builder
from data_builders.analogseeker.spec import Spec
from data_builders.core.thinking import clean_thinking
from recipes.base.jsonl import read_jsonl
from recipes.base.places import ROOT
from recipes.base.reply_form import holds_mark
from tests.helpers.served import Bar, served
from tests.helpers.teacher_server import Server, answer

CORPUS = ROOT / "tests" / "fixtures" / "small_corpus"
LINES = {  # what such a model writes, over and over
    "R1": (
        "Okay, so I need to find how {term} behaves here. The document states that $g_m = \\frac{{2I_D}}{{V_{{OV}}}}$.",
        "Wait, according to the document, \\( A_v = -g_m (r_{{o1}} \\parallel r_{{o2}}) \\), so 40 dB @1kHz is plausible.",  # noqa: E501
        "Hmm, the text says the middle node moves only a little (see Figure 3.2), thus equation (4.2) holds.",
    ),
    "QwQ": (
        "Alright, let's go through {term} step by step. Based on the passage, \\[ V_{{GS}} - V_{{TH}} = V_{{OV}} \\].",
        "But wait, the author... no: from the text, \\boxed{{\\tau = R C}} with $R = 2\\,\\text{{k}}\\Omega$.",
        "I should put the final letter in <answer> tags, as the question asks. Let me double-check the table above.",
    ),
    "Qwen3": (
        "The user asks about {term}. The provided document mentions that $V_{{out}} = V_{{in}} \\cdot \\frac{{R_2}}{{R_1+R_2}}$.",  # noqa: E501
        "So, **step 2**: $$\\omega_p = \\frac{{1}}{{R_{{out}} C_L}} \\approx 2\\pi \\cdot 1\\,\\text{{MHz}}$$ per the document.",  # noqa: E501
        "As mentioned in the document, section 2.1 gives {{a, b}}; I'm sorry, that was the wrong sign: $-\\beta$.",
    ),
}
LONG = 4000  # words, numbers and signs of a trace


def trace(style):
    """A trace of at least LONG words, numbers and signs."""
    lines, size = [], 0
    while size < LONG:
        line = f"{len(lines)}. " + LINES[style][len(lines) % 3].format(term="the divider")
        lines.append(line)
        size += len(re.findall(r"\w+|[^\w\s]", line))
    return "\n".join(lines)


class Reasoner:
    """The local teacher, whose answers come behind a long trace; `apart`: in a field of its own, as Qwen3 is served."""

    def __init__(self, style):
        self.trace = trace(style)

    def __call__(self, payload):
        said = answer(payload)
        if not payload["messages"][0]["content"].startswith("You answer exam questions"):
            return said
        behind = said.partition("</think>")[2].replace(
            "Each step follows", "According to the document, each step follows"
        )
        # R1 and QwQ are served by templates that open the block themselves.
        return f"{self.trace}\n</think>\n{behind}"


def spec_of(url, **teacher):
    model = {"kind": "openai", "model": "m", "base_url": url, "draws": 3, "max_reply_bytes": 200_000, **teacher}
    small = {"tests": {"knowledge": 2, "calculation": 0, "transfer": 1}, "rl_rows": 4, "min_tokens": 20}
    return Spec.model_validate({"teacher": model, "similar": 1.0, "leak_threshold": 1.0, **small})


@pytest.mark.slow
@pytest.mark.parametrize("style", LINES)
def test_no_record_of_a_reasoning_teacher_is_lost_by_its_reasoning(style, tmp_path):
    with served(Server(says=Reasoner(style))) as url:
        builder.build(spec_of(url), CORPUS, tmp_path, 1, Bar.open, lambda text: None)
    records = read_jsonl(tmp_path / "qtsa.jsonl")
    card = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    replies = card["ledger"]["replies"]
    print(style, replies)
    reasons = set(replies["reasons"])
    assert replies["kept"] and not [
        name for name in reasons if name.startswith(("garbled", "speaks", "refers", "think"))
    ]
    for record in records:
        assert "\\frac" in record["thinking"] or "\\boxed" in record["thinking"]
        assert len(re.findall(r"\w+|[^\w\s]", record["thinking"])) > 0.6 * LONG
        assert not re.search(r"the (document|passage|text)\b", record["thinking"] + record["solution"], re.I)
        assert not holds_mark(record["thinking"])


@pytest.mark.slow
def test_a_longer_reply_goes_only_where_a_key_says_so(tmp_path):
    with served(Server(says=Reasoner("R1"))) as url, pytest.raises(Exception, match="too long"):
        builder.build(spec_of(url, longest_reply=1000, stop_after=0), CORPUS, tmp_path, 1, Bar.open, lambda text: None)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("The document states that $g_m = \\frac{2I_D}{V_{OV}}$.", "$g_m = \\frac{2I_D}{V_{OV}}$."),
        ("Now, according to the passage, gain falls.", "Now, gain falls."),
        ("According to the text, gain falls.", "Gain falls."),
        ("It holds (see Figure 3.2). Next.", "It holds. Next."),
        ("Using equation (4.2), V = 2.", "Using the relation, V = 2."),
        ("I put B in <answer> tags.</think>", "I put B in  tags."),
        ("The text of the label is red.", "The text of the label is red."),
        ("First.\n\n\n\n  Then $x$ \ufffd.", "First.\n\n  Then $x$ ."),
        ("The 2.5 V rail in this section of the curve.", "The 2.5 V rail in this section of the curve."),
    ],
)
def test_references_go_and_the_rest_stays(said, kept):
    assert clean_thinking(said) == kept


def test_cleaning_again_changes_nothing_and_time_is_linear_in_the_length():
    once = clean_thinking(trace("R1"))
    assert clean_thinking(once) == once
    assert (
        clean_thinking("the document " * 100_000)
        and clean_thinking("(" * 200_000)
        and clean_thinking("<think" * 50_000) == ""
    )
