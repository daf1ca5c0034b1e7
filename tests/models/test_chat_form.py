"""Every chat template that TRL brings: a reply is learnt whole, behind the prompt that is sampled from, with one end
token; as a model samples it, it earns the full format score and grade. Or the base is refused before anything is spent.
"""

import re

import pytest
from transformers import AutoTokenizer

from data_builders.core.schema import dump_row
from eval.graders import grade
from eval.graders.reply import format_score
from recipes.base.errors import RecipeError
from recipes.base.places import ROOT
from recipes.base.rows import GradedRow, SftRow
from recipes.config.schema import Model
from recipes.models import loader
from recipes.models.chat_form import chat_form_of, decode_reply, encode_replies, set_chat_form
from recipes.models.chat_template import read_known
from recipes.models.learnt_rows import make_examples
from recipes.models.rewards import accuracy_reward, format_reward, reading_replies
from tests.helpers.template_bases import make_tokenizer, put_table, write_table

THOUGHT = "Half of 8 is 4,\n\nand 4 < 5."
ROW = SftRow(kind="open", question="What is half of 8?", thinking=THOUGHT, solution="It is 4.", answer="4")
PLAIN = SftRow(kind="open", question="What is half of 8?", solution="It is\n4 of 8.", answer="4")
GRADED = GradedRow(kind="open", question="What is half of 8?", grader="numeric", answer="4", thinking=THOUGHT)
# What stands between a prompt and a reply that is learnt is the template's own mark of who speaks, if anything.
HEADS = {"gptoss": "<|channel|>final<|message|>", "muse_glimmer": " to=user<|message|>"}


@pytest.fixture(scope="module", params=sorted(read_known()))
def base(request):
    """(name of a template, the tokenizer of a base that has it)"""
    tokenizer = make_tokenizer(request.param)
    set_chat_form(tokenizer)
    return request.param, tokenizer


def learnt(tokenizer, row):
    """(tokens of the prompt, tokens that are learnt) of a row as the trainer gets it."""
    ([example], [length]) = make_examples(tokenizer, [dump_row(row)])
    mask = example["completion_mask"]
    start = mask.index(1)
    assert len(mask) == length and all(mask[start:]) and not any(mask[:start])
    return example["input_ids"][:start], example["input_ids"][start:]


def test_all_templates_are_looked_at_and_the_page_shows_what_was_found():
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert len(read_known()) >= 72
    assert page == put_table(page, write_table()), "python -m tests.helpers.template_bases"


def test_the_prompt_is_the_one_that_is_sampled_from(base):
    _, tokenizer = base
    prompt, _ = learnt(tokenizer, ROW)
    turns = dump_row(ROW)["prompt"]
    asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert prompt == asked and "What is half of 8?" in tokenizer.decode(prompt)


@pytest.mark.parametrize("row", [ROW, PLAIN], ids=["with a chain of thought", "without"])
def test_the_reply_is_learnt_whole_once_and_with_one_end_token(row, base):
    _, tokenizer = base
    _, ids = learnt(tokenizer, row)
    text = tokenizer.decode(ids)
    assert ids.count(tokenizer.eos_token_id) == 1 and ids[-1] == tokenizer.eos_token_id
    for part in filter(None, (row.thinking, row.solution, f"<answer>{row.answer}</answer>")):
        assert text.count(part) == 1
    assert text.count("</think>") <= 1 and text.count("<think>") <= 1


@pytest.mark.parametrize("row", [ROW, PLAIN], ids=["with a chain of thought", "without"])
def test_nothing_is_learnt_beside_the_reply_but_the_marks_of_the_template(row, base):
    name, tokenizer = base
    _, ids = learnt(tokenizer, row)
    rest = tokenizer.decode(ids).removesuffix(tokenizer.eos_token)
    for part in filter(None, (row.thinking, row.solution, f"<answer>{row.answer}</answer>")):
        rest = rest.replace(part, "")
    form = chat_form_of(tokenizer)
    marks = form.before + form.between if row.thinking and form.channel else form.plain
    assert sorted(re.sub(r"\s", "", rest)) == sorted(
        re.sub(r"\s", "", marks + ("<think></think>" if row.thinking and not form.channel else ""))
    )
    if not row.thinking and "think" not in form.plain:
        assert form.plain.strip() == next(
            (head.strip() for family, head in HEADS.items() if name.startswith(family)), ""
        )


def test_a_perfect_reply_as_sampled_is_read_back_and_earns_everything(base):
    _, tokenizer = base
    _, ids = learnt(tokenizer, ROW)
    reply = decode_reply(tokenizer, [*ids, *[tokenizer.pad_token_id] * 3])
    assert reply.strip() == dump_row(ROW)["completion"][0]["content"]
    assert format_score(reply) == 1.0 and grade(dump_row(GRADED), reply) == 1.0
    text = tokenizer.decode(ids, skip_special_tokens=True)  # what TRL hands to a reward
    columns = {"grader": ["numeric"], "answer": ["4"], "options": [None], "unit": [None], "tolerance": [None]}
    for reward in (accuracy_reward, format_reward):
        given = [[{"role": "assistant", "content": text}]]
        assert reading_replies(reward, tokenizer)(given, completion_ids=[ids], **columns) == [1.0]


def test_a_reply_without_a_chain_of_thought_is_read_back(base):
    _, tokenizer = base
    _, ids = learnt(tokenizer, PLAIN)
    reply = decode_reply(tokenizer, ids)
    assert reply.strip() == dump_row(PLAIN)["completion"][0]["content"] and format_score(reply) == 0.0


def test_a_reply_that_is_cut_off_in_its_thought_has_no_form(base):
    _, tokenizer = base
    _, ids = learnt(tokenizer, ROW)
    short = tokenizer.decode(ids).index("Half of 8") + 6
    cut = tokenizer(tokenizer.decode(ids)[:short], add_special_tokens=False)["input_ids"]
    reply = decode_reply(tokenizer, cut)
    assert format_score(reply) == 0.0 and reply.rstrip().endswith("Half o") and "</think>" not in reply


def test_a_document_does_not_end_like_a_turn(base):
    name, tokenizer = base
    form = chat_form_of(tokenizer)
    one_token = ("deepseek", "llava", "muse")  # bases that have no other
    assert (form.document_end == form.end) == name.startswith(one_token)
    assert form.document_end != "<|END_OF_TURN_TOKEN|>"


def test_the_prompt_is_the_same_on_any_day(base, monkeypatch):
    name, tokenizer = base
    if "strftime_now" in read_known()[name]:
        text = tokenizer.apply_chat_template(dump_row(ROW)["prompt"], tokenize=False, add_generation_prompt=True)
        assert "2026" in text and any("day's date" in mended for mended in chat_form_of(tokenizer).mended)


# What was found with these bases before; each is one line of the table above.
def test_reasoning_goes_through_the_channel_of_the_template():
    shown = {}
    for name in ("qwen3_8", "qwen3_5_nothink", "deepseek_r1_distill", "glm4moe", "gptoss", "nemotron_3_nano"):
        tokenizer = make_tokenizer(name)
        shown[name] = encode_text(tokenizer, set_chat_form(tokenizer))
    assert shown == {
        "qwen3_8": "<think>\n|T\n</think>\n\nA<|im_end|>",
        "qwen3_5_nothink": "<think>\n|T\n</think>\n\nA<|im_end|>",
        "deepseek_r1_distill": "<think>\n|T\n</think>\n\nA<｜end▁of▁sentence｜>",
        "glm4moe": "|\n<think>T</think>\nA<|user|>",
        "gptoss": "|<|channel|>analysis<|message|>T<|end|><|start|>assistant<|channel|>final<|message|>A<|return|>",
        "nemotron_3_nano": "<think>\n|T\n</think>\nA<|im_end|>",
    }


def encode_text(tokenizer, form):
    """The end of the prompt from its last mark of a chain of thought, "|", and what is learnt."""
    [(asked, reply)] = encode_replies(tokenizer, [([{"role": "user", "content": "Q"}], "<think>T</think>\nA")], form)
    prompt = tokenizer.decode(asked)
    return f"{prompt[prompt.rindex('<think>') :] if form.opened else ''}|{tokenizer.decode(reply)}"


def test_phi3_gets_its_end_token_once():
    tokenizer = make_tokenizer("phi3")
    set_chat_form(tokenizer)
    _, ids = learnt(tokenizer, PLAIN)
    assert tokenizer.decode(ids).count("<|end|>") == 1 and "<|endoftext|>" not in tokenizer.decode(ids)


TURNS = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
REFUSED = {
    "ends with no token": (TURNS.replace("{{ eos_token }}", "\n"), "never stop"),
    "no question": (TURNS.replace("messages", "messages if m.role == 'assistant'"), "leaves out the question"),
    "no reply": (TURNS.replace("messages", "messages if m.role == 'user'"), "leaves out the reply"),
    "another prompt": (TURNS + "{% if add_generation_prompt %}SAY{% endif %}", "behind another text"),
    "refuses": (TURNS.replace("m.content", "m.content if m.role == 'user' else raise_exception('no')"), "be rendered"),
    "spells out": (TURNS.replace("m.content", "m.content | upper"), "leaves out the question"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_template_that_breaks_the_property_is_refused_with_its_name_and_the_reason(fault):
    template, reason = REFUSED[fault]
    tokenizer = make_tokenizer("qwen2_5", template)
    with pytest.raises(RecipeError, match=reason) as refused:
        set_chat_form(tokenizer, "mine.jinja")
    assert "mine.jinja" in str(refused.value) and "model.chat_template" in str(refused.value)


def test_the_embedded_base_is_held_as_it_is():
    tokenizer = loader.load_tokenizer(Model())
    form = chat_form_of(tokenizer)
    assert (form.end, form.document_end, form.channel, form.plain, form.mended) == (
        "<|im_end|>", "<|endoftext|>", False, "", ()
    )  # fmt: skip
    _, ids = learnt(tokenizer, ROW)
    assert tokenizer.decode(ids) == dump_row(ROW)["completion"][0]["content"] + "<|im_end|>"


def test_what_is_saved_with_a_model_is_used_the_same_way_again(base, tmp_path):
    _, tokenizer = base
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    form = set_chat_form(again)
    expected = chat_form_of(tokenizer)
    shared = ("opened", "before", "between", "plain", "end", "document_end", "channel", "special")
    assert {key: getattr(form, key) for key in shared} == {key: getattr(expected, key) for key in shared}
    assert learnt(again, ROW) == learnt(tokenizer, ROW)
