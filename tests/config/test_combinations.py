"""What does not go together: each refusal is reached by its own example, and the page shows these and no others."""

import re

import pytest
from recipes.config.combinations import LATER, REFUSED, UNREAD, Refusal, page

from recipes.base.errors import ConfigErrors
from recipes.base.places import ROOT
from recipes.config import validate
from recipes.config.load import load
from recipes.config.schema import Rl, Sft

EVERY = """
[demo]
summary = "a demonstration"
builder = "analogseeker"
[demo.sft]
[demo.rl]
[demo.eval]
tasks = ["demo_knowledge"]
"""


@pytest.fixture
def problems_of(tmp_path, monkeypatch):
    monkeypatch.setattr(validate, "known_tasks", lambda: {"demo_knowledge": None})
    file = tmp_path / "recipes.toml"
    file.write_text(EVERY)

    def found(*sets, profile=None):
        try:
            load(file, "demo", profile, sets, here=False)
        except ConfigErrors as error:
            return [str(problem) for problem in error.problems]
        return []

    return found


@pytest.mark.parametrize("one", REFUSED, ids=lambda one: f"{one.key} {' '.join(one.example)}")
def test_every_example_is_refused_with_its_reason(problems_of, one: Refusal):
    stage = one.stages[-1]
    texts = problems_of(*one.example)
    said = [text for text in texts if one.reason in text and text.startswith(one.key.format(stage=stage) + ":")]
    assert len(said) == 1, texts
    assert one.instead.format(stage=stage) in said[0] and "got" in said[0]
    # without the last of its settings it is no such combination
    assert not any(
        one.reason in text and text.startswith(one.key.format(stage=stage)) for text in problems_of(*one.example[:-1])
    )


@pytest.mark.parametrize("algorithm", UNREAD)
def test_what_an_algorithm_does_not_read_may_not_be_set(problems_of, algorithm):
    beta = [] if algorithm != "ppo" else ["rl.beta=0.1"]
    other = {"loss_type": "grpo", "scale_rewards": "batch", "beta": 0.1, "partial": 0.3, "format_weight": 1.0}
    other |= {"use_vllm": "true", "order": "difficulty"}
    assert problems_of(f"rl.algorithm={algorithm}", *beta) == []
    for key, value in other.items():
        texts = problems_of(f"rl.algorithm={algorithm}", *beta, f"rl.{key}={value}")
        said = any(f"rl.{key}: {algorithm} does not read it" in text for text in texts)
        assert said == (key in UNREAD[algorithm]), (key, texts)
    for key in UNREAD[algorithm]:
        assert (
            key in other and f"--set rl.{key}=" in problems_of(f"rl.algorithm={algorithm}", f"rl.{key}={other[key]}")[0]
        )


@pytest.mark.parametrize(
    "sets",
    [
        ["model.quantization=nf4", "sft.method=loramoe"],
        ["rl.use_vllm=true"],
        ["sft.method=loramoe", "rerank.prompts=16"],
        ["sft.method=loramoe", "mix.share=0.1", "sft.balance.weight=0.1"],
        ["sft.method=loramoe", "sft.balance.weight=0.1", "sft.balance.form=lbl"],
        ["sft.method=loramoe", "sft.balance.weight=0.1", "sft.balance.form=mi", "sft.experts.general=0"],
        ["sft.method=loramoe", "sft.experts.general=0"],  # no balancing asks for types
        ["sft_general.method=full", "sft.rank=4", "sft.kl_weight=0.1"],
        ["rl.algorithm=ppo", "rl.beta=0.05", "rl.group_size=1", "rl.partial=0.1", "rl.order=difficulty"],
        ["data.rl_forms=true", "rl.order=kind"],
    ],
    ids=" ".join,
)
def test_what_goes_together_is_accepted(problems_of, sets):
    assert problems_of(*sets) == []


def test_the_page_is_written_from_the_tables():
    """`python -m recipes.config.combinations > docs/combinations.md` where this fails."""
    text = (ROOT / "docs" / "combinations.md").read_text(encoding="utf-8")
    assert text == page()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert all(one.reason in text for one in [*REFUSED, *LATER])
    assert all(", ".join(f"`{part}`" for part in one.example) in text for one in REFUSED)
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (3, 4, 5) for line in lines)
    assert re.search(r"\{\w*\}", text) is None, "a placeholder that nothing was put in for"


@pytest.mark.parametrize("one", LATER, ids=lambda one: one.together[:40])
def test_what_a_stage_refuses_stands_there_in_these_words(one):
    assert one.reason in (ROOT / one.module).read_text(encoding="utf-8")


def test_the_keys_of_the_tables_exist():
    assert all(key in Rl.model_fields for keys in UNREAD.values() for key in keys)
    named = {one.key.split(".")[1] for one in REFUSED if one.key.startswith(("{stage}", "sft."))}
    assert named <= set(Sft.model_fields)
