"""The embedded world: what its documents hold and never hold, the shipped base model, and its build and model card."""

import hashlib
import itertools
import json
import math
import random
import re
import shutil
import struct
import tomllib
from collections import Counter
from fractions import Fraction
from functools import cache

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from eval.graders import grade
from recipes.base.errors import RecipeError
from recipes.base.places import LAB_MODEL, ROOT
from recipes.lab import build, options, score
from recipes.lab.calculations import bare_sum, field_problem, stated_formula, sums
from recipes.lab.facts import stated_open, stated_option, unknown_option
from recipes.lab.items import WORDS, Item
from recipes.lab.tokenizer import MARKS, SPECIAL, TEMPLATE, VOCABULARY, chat
from recipes.lab.world import BALANCED, GUESSING, PHASES, SUMS_FIRST, documents, general_test, is_clear

CORPUS = ROOT / "data_builders" / "analogseeker" / "corpus"
MIXTURES = {"first phase": SUMS_FIRST, "second phase": BALANCED, "third phase": GUESSING}
TRAINING = json.loads((LAB_MODEL / "training.json").read_text(encoding="utf-8"))


@cache
def drawn(name, count=3000):
    return list(itertools.islice(documents(random.Random("test of documents"), MIXTURES[name]), count))


def text_of(document):
    return document if isinstance(document, str) else "".join(chat(document))


@cache
def tokenizer():
    return AutoTokenizer.from_pretrained(LAB_MODEL)


# ---- documents --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, digest",
    [
        ("first phase", "63484551ec9fe12a"),
        ("second phase", "04a1ad635368e2b5"),
        ("third phase", "605dc0503f318adb"),
    ],
)
def test_the_documents_are_those_that_the_shipped_model_has_read(name, digest):
    """Where this fails, the shipped model can no longer be built from the code: build and score it anew, or undo it."""
    assert hashlib.sha256("\0".join(map(text_of, drawn(name))).encode()).hexdigest()[:16] == digest


def test_another_seed_gives_other_documents():
    one, other = (next(documents(random.Random(seed), [(1.0, bare_sum)])).prompt for seed in (1, 2))
    assert one != other


def bare(question, answer="", grader="text", options=()):
    return Item(kind="facts", question=question, think="", solution="", answer=answer, grader=grader, options=options)


def test_held_out_prompts_are_never_drawn():
    mixture = [(1.0, lambda rng: bare(f"prompt {rng.randrange(10)}"))]
    held_out = frozenset({bare("prompt 3").prompt, bare("prompt 7").prompt})
    prompts = {item.prompt for item in itertools.islice(documents(random.Random(0), mixture, held_out), 300)}
    assert len(prompts) == 8 and not prompts & held_out


def test_every_maker_has_its_share_of_the_documents():
    for name, mixture in MIXTURES.items():
        assert math.isclose(sum(share for share, _ in mixture), 1.0)
        plain = sum(isinstance(document, str) for document in drawn(name)) / len(drawn(name))
        expected = sum(share for share, maker in mixture if maker.__name__ in ("sums", "sentences", "statements"))
        assert abs(plain - expected) < 0.03


def exact(expression, values):
    """Value of a rendered expression as a Fraction."""

    def sqrt(x):
        root = Fraction(math.isqrt(x.numerator), math.isqrt(x.denominator))
        return root if root * root == x else None

    def log10(x):
        power = len(str(x.numerator)) - len(str(x.denominator))
        return Fraction(power) if Fraction(10) ** power == x else None

    code = re.sub(r"(?<![\w.])\d+(?:\.\d+)?", r"Fraction('\g<0>')", expression.replace("^", "**"))
    return eval(code, {"__builtins__": {}, "Fraction": Fraction, "sqrt": sqrt, "log10": log10} | values)


@pytest.mark.parametrize("maker", [bare_sum, field_problem, stated_formula])
def test_every_link_of_a_worked_chain_is_exactly_equal(maker):
    rng = random.Random("chains")
    for item in (maker(rng) for _ in range(400)):
        links = item.think.split(" = ")
        values = {name: Fraction(value) for name, value in re.findall(r"(\w+) = (\d+(?:\.\d+)?)", item.prompt)}
        if maker is not bare_sum:
            assert re.fullmatch(r"\w+", links.pop(0))
        results = [exact(link, values) for link in links]
        assert len(links) >= 2 and set(results) == {Fraction(item.answer.split()[0])}, (item, results)
        assert item.answer == f"{links[-1]} {item.unit or ''}".rstrip() and item.answer in item.solution


def test_every_line_of_bare_sums_is_exactly_equal():
    rng = random.Random("lines")
    lines = [line for _ in range(200) for line in sums(rng).splitlines()]
    assert len(lines) >= 600 and all(len({exact(link, {}) for link in line.split(" = ")}) == 1 for line in lines)


def test_what_is_not_known_is_answered_with_the_first_of_four_options():
    rng = random.Random("unknown")
    for item in (unknown_option(rng) for _ in range(300)):
        assert len(set(item.options)) == 4 and item.answer == item.options[0]
        assert f"\nA) {item.answer}\n" in item.prompt and item.reply.endswith(f"<answer>{item.answer}</answer>")


def test_what_a_prompt_states_holds_the_answer():
    rng = random.Random("stated")
    for item in (maker(rng) for maker in (stated_option, stated_open) for _ in range(200)):
        assert item.answer in item.prompt.split(".")[0] and item.think in item.prompt
        assert not item.options or (item.answer in item.options and len(set(item.options)) == 4)


def corpus_entries(kind):
    chapters = [tomllib.loads(file.read_text(encoding="utf-8")) for file in sorted(CORPUS.glob("*.toml"))]
    return [entry for chapter in chapters for node in chapter["node"] for entry in node.get(kind, [])]


def squeezed(text):
    return " ".join(re.findall(r"\w+", text.casefold()))


def test_nothing_that_the_corpus_teaches_stands_in_a_document():
    texts = [squeezed(text_of(document)) for name in MIXTURES for document in drawn(name)]
    everything = "\n".join(texts)
    facts, formulas = corpus_entries("fact"), corpus_entries("formula")
    assert len(facts) >= 240 and len(formulas) >= 48
    taught = [text for fact in facts for text in (*fact["questions"], fact["why"])]
    taught += [formula["statement"] for formula in formulas]
    assert [text for text in taught if squeezed(text) in everything] == []
    assert "the capital of france is paris" in everything  # the search does find what is there
    for question in (question for formula in formulas for question in formula["questions"]):
        before, after = map(squeezed, question.split("{givens}"))
        if before in everything and after in everything:
            assert not [text for text in texts if len(before + after) > 20 and before in text and after in text], (
                question
            )


def test_no_formula_of_the_corpus_stands_in_a_document():
    everything = "\n".join(text_of(document) for name in MIXTURES for document in drawn(name))
    everything = everything.replace(" ", "").replace("^", "**")
    chains = {f"{formula['symbol']}={formula['expression']}".replace(" ", "") for formula in corpus_entries("formula")}
    assert [chain for chain in chains if re.search(rf"(?<!\w){re.escape(chain)}(?!\w)", everything)] == []
    assert "v=s/t=" in everything  # the search does find a formula that is there


# ---- general test -----------------------------------------------------------------------------------------------


def shipped_rows():
    return [json.loads(line) for line in (LAB_MODEL / "general_test.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_shipped_general_test_is_the_one_that_was_held_out():
    rows = shipped_rows()
    assert rows == general_test(build.GENERAL_TEST_SEED, build.GENERAL_TEST_ROWS)
    assert len({row["prompt"][0]["content"] for row in rows}) == len({row["id"] for row in rows}) == len(rows)
    kinds = Counter(row["kind"] for row in rows)
    assert set(kinds) == {"arithmetic", "facts", "instructions"} and min(kinds.values()) >= 145


def test_gold_replies_of_the_general_test_are_right_and_empty_ones_wrong():
    for row in shipped_rows():
        assert grade(row, row["reply"]) == 1.0, row
        assert grade(row, "") == grade(row, "<think></think>\n<answer></answer>") == 0.0, row


def test_a_choice_whose_gold_answer_reads_like_another_label_is_not_clear():
    def choice(answer, *options):
        return bare("", answer=answer, grader="choice", options=options)

    assert not is_clear(choice("C", "C", "F", "Ar", "Cu"))
    assert is_clear(choice("C", "F", "Ar", "C", "Cu")) and is_clear(choice("F", "F", "C", "Ar", "Cu"))


# ---- tokenizer --------------------------------------------------------------------------------------------------


def ids(text):
    return tokenizer()(text, add_special_tokens=False)["input_ids"]


def back(tokens):
    return tokenizer().decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def test_digits_stay_single_and_an_operator_takes_its_spaces_along():
    assert tokenizer().convert_ids_to_tokens(ids("1234")) == ["1", "2", "3", "4"]
    assert [back([token]) for token in ids("12 * 30 = 360")] == [*"12", " * ", *"30", " = ", *"360"]
    assert not [token for token in tokenizer().get_vocab() if sum(map(str.isdecimal, token)) > 1]


def test_tags_and_marks_are_one_token_each():
    assert all(len(ids(mark)) == 1 for mark in MARKS + SPECIAL)
    assert len(tokenizer()) == VOCABULARY


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "  two  spaces \t tab\r\nnew line\n\n",
        "Größe Ω µA 3√x ≤ 10⁻³ – “quoted”",
        "日本語 العربية हिन्दी",
        "👩‍🔬 emoji 🇪🇺 🧪🏽",
        "e\u0301 is not é; \u200b\ufeff\x00\x7f",
        "<think>a</think>\n<answer> b </answer> <|im_end|>",
        "isn't , . ! ' s n't",
    ],
)
def test_text_comes_back_byte_for_byte(text):
    assert back(ids(text)) == text


def test_random_text_comes_back_byte_for_byte():
    rng = random.Random("characters")
    ranges = [range(0x20), range(0x20, 0x7F), range(0x80, 0x2FFF), range(0xE000, 0xFFFF), range(0x1F300, 0x1FAFF)]
    for _ in range(300):
        text = "".join(chr(rng.choice(rng.choice(ranges))) for _ in range(rng.randint(1, 40)))
        assert back(ids(text)) == text


def test_the_template_writes_what_the_pre_training_reads():
    item = bare_sum(random.Random(1))
    user, assistant = {"role": "user", "content": item.prompt}, {"role": "assistant", "content": item.reply}
    write = tokenizer().apply_chat_template
    assert tokenizer().chat_template == TEMPLATE
    assert write([user], tokenize=False, add_generation_prompt=True) == chat(item)[0]
    assert write([user, assistant], tokenize=False) == "".join(chat(item)) + "\n"


def test_the_generation_marks_cover_assistant_text_and_its_end_and_nothing_else():
    replies = ["<think>I see 🙂.</think>\nSo: 7.\n<answer>7</answer>", "two\n\nlines "]
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": replies[0]},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": replies[1]},
    ]
    encoded = tokenizer().apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True)
    pairs = zip(encoded["assistant_masks"], encoded["input_ids"], strict=True)
    spans = [(marked, [token for _, token in group]) for marked, group in itertools.groupby(pairs, key=lambda p: p[0])]
    assert [back(tokens) for marked, tokens in spans if marked] == [reply + "<|im_end|>" for reply in replies]


# ---- model ------------------------------------------------------------------------------------------------------


def test_the_weights_are_small_bf16_safetensors_and_nothing_else_is_executable():
    file = LAB_MODEL / "model.safetensors"
    with open(file, "rb") as stream:
        header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    assert file.stat().st_size <= 24e6 and {tensor["dtype"] for tensor in tensors} == {"BF16"}
    assert sum(math.prod(tensor["shape"]) for tensor in tensors) == TRAINING["parameters"] <= 12e6
    assert {path.suffix for path in LAB_MODEL.iterdir()} == {".json", ".jsonl", ".jinja", ".md", ".safetensors"}


def test_the_model_is_a_stock_qwen3_that_answers():
    model = AutoModelForCausalLM.from_pretrained(LAB_MODEL, trust_remote_code=False, dtype="auto").eval()
    assert type(model) is Qwen3ForCausalLM and model.dtype is torch.bfloat16
    assert "auto_map" not in json.loads((LAB_MODEL / "config.json").read_text(encoding="utf-8"))
    prompt = tokenizer()("<|im_start|>user\nCompute 6 * 7.\n", return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        assert model(input_ids=prompt["input_ids"]).logits.shape[-1] == VOCABULARY
    row = {"id": "sum", "grader": "numeric", "answer": "42", "options": None, "unit": None, "tolerance": None}
    text = chat(bare("Compute 6 * 7."))[0]
    asked = torch.tensor([ids(text)])
    reply = model.float().generate(asked, max_new_tokens=60, do_sample=False)[0, asked.shape[1] :]
    assert grade(row, tokenizer().decode(reply, skip_special_tokens=True)) == 1.0


def test_the_shipped_model_is_what_the_command_builds_by_default():
    assert [TRAINING[key] for key in ("steps", "rate", "seed")] == [options.STEPS, options.RATE, options.SEED]
    assert TRAINING["tokens"] == options.STEPS * options.ROWS * options.LENGTH
    assert [point["step"] for point in TRAINING["history"]][-1] == options.STEPS
    assert TRAINING["history"][-1]["loss"] < 0.5 < TRAINING["history"][0]["loss"]


# ---- build ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    """The build in small: two layers, rows of 64 tokens, a checkpoint every two steps."""

    def new_model(tokenizer, seed):
        torch.manual_seed(seed)
        shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True}
        return Qwen3ForCausalLM(Qwen3Config(vocab_size=VOCABULARY, **shape, **heads))

    monkeypatch.setattr(build, "train_tokenizer", lambda seed: tokenizer())
    monkeypatch.setattr(build, "new_model", new_model)
    for name, value in {"ROWS": 2, "LENGTH": 64, "LOG_STEPS": 1, "SAVE_STEPS": 2}.items():
        monkeypatch.setattr(build, name, value)

    def run(folder, out="model", steps=4, rate=1e-2):
        build.pretrain(steps, rate, 0, folder / "work", folder / out, False, build.Runtime())
        return folder / out

    return run


def stop_at(monkeypatch, stop):
    """Let the build die when it asks for step `stop`; the list of steps that it asked for."""
    asked, batch = [], build.batch

    def failing(tokenizer, step, *rest):
        asked.append(step)
        if step == stop:
            raise KeyboardInterrupt
        return batch(tokenizer, step, *rest)

    monkeypatch.setattr(build, "batch", failing)
    return asked


def test_a_killed_build_goes_on_and_ends_with_the_same_weights(tiny, tmp_path, monkeypatch, capsys):
    whole = tiny(tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 3)
        tiny(tmp_path / "killed")
    assert not (tmp_path / "killed" / "model").exists()
    with monkeypatch.context() as patch:
        asked = stop_at(patch, None)
        again = tiny(tmp_path / "killed")
    assert asked == [2, 3] and "going on from step 2" in capsys.readouterr().out
    for name in ("model.safetensors", "config.json", "tokenizer.json", "general_test.jsonl"):
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name
    one, other = (json.loads((folder / "training.json").read_text())["history"] for folder in (whole, again))
    assert [point["step"] for point in one] == [point["step"] for point in other] == [1, 2, 3, 4]
    assert [point["loss"] for point in one] == pytest.approx([point["loss"] for point in other], abs=2e-4)


def test_a_checkpoint_of_other_values_is_refused(tiny, tmp_path):
    tiny(tmp_path, steps=2)
    with pytest.raises(RecipeError, match="another build") as error:
        tiny(tmp_path, steps=4)
    assert "[2, 0.01, 0]" in str(error.value) and "[4, 0.01, 0]" in str(error.value)


def test_a_loss_that_is_not_finite_stops_the_build(tiny, tmp_path):
    with pytest.raises(RecipeError, match="not finite") as error:
        tiny(tmp_path, rate=1e30)
    assert "lower --rate" in str(error.value) and not (tmp_path / "model").exists()


def test_a_folder_that_is_no_model_is_not_replaced(tiny, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(RecipeError, match="something else"):
        tiny(tmp_path, out="thesis")
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def test_prompts_are_read_and_replies_are_learnt(monkeypatch):
    item = bare_sum(random.Random(3))
    monkeypatch.setattr(build, "ROWS", 1)
    monkeypatch.setattr(build, "LENGTH", len(ids("".join(chat(item)))))
    inputs, labels = build.batch(tokenizer(), 0, 0, [(1.0, lambda rng: item)], frozenset())
    assert back(inputs[0].tolist()) == "".join(chat(item))
    assert back([token for token in labels[0].tolist() if token != -100]) == chat(item)[1]


def test_the_rate_warms_up_stays_and_falls_and_once_more_in_the_last_phase():
    rates = [build.rate_at(step, 1250) for step in range(1250)]
    last = build.phase_starts(1250)[-1]
    assert last == 1100
    assert rates[0] == 0.02 and rates[49:660] == [1.0] * 611 and rates[last - 1] == 0.02
    assert rates[660:last] == sorted(rates[660:last], reverse=True)
    assert max(rates[last:]) == rates[last + 17] < 1 / 3 and rates[-1] < 0.01
    assert rates[last + 17 :] == sorted(rates[last + 17 :], reverse=True)


def test_every_phase_has_its_share_of_the_steps():
    steps = Counter(id(build.mixture_at(step, options.STEPS)) for step in range(options.STEPS))
    assert [steps[id(mixture)] for _, mixture in PHASES] == [1100, 1100, 300]


# ---- model card -------------------------------------------------------------------------------------------------


def test_the_shipped_card_tells_of_the_shipped_model():
    text = (LAB_MODEL / "README.md").read_text(encoding="utf-8")
    items = Counter(f"general_{row['kind']}" for row in shipped_rows())
    found = {task: float(value) for task, value in re.findall(r"name: (general_\w+)[^#]*?value: ([\d.]+)", text)}
    assert found.keys() == items.keys()
    scores = [score.interval(task, round(found[task] * n) / n, n) for task, n in items.items()]
    assert text == score.card(TRAINING, json.loads((LAB_MODEL / "config.json").read_text(encoding="utf-8")), scores)


def test_score_asks_the_model_and_writes_its_card(tmp_path, capsys):
    folder = tmp_path / "model"
    shutil.copytree(LAB_MODEL, folder)
    rows = [row for kind in ("arithmetic", "facts", "instructions") for row in shipped_rows() if row["kind"] == kind]
    few = rows[:2] + rows[150:152] + rows[-2:]
    (folder / "general_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in few), encoding="utf-8")
    score.main(options.score(["--model", str(folder)]))
    said, text = capsys.readouterr().out, (folder / "README.md").read_text(encoding="utf-8")
    for task in score.TASKS:
        assert re.search(rf"{task}: [\d.]+% \(95 % interval [\d.]+% to [\d.]+%, n = 2\)", said)
        assert re.search(rf"\| {task} \| 2 \| [\d.]+ % \| [\d.]+ to [\d.]+ % \|", text)


def test_score_refuses_a_folder_without_a_model(tmp_path):
    with pytest.raises(RecipeError, match="no model folder") as error:
        score.main(options.score(["--model", str(tmp_path)]))
    assert "training.json and config.json" in str(error.value)


def test_words_are_bare():
    assert len(WORDS) == len(set(WORDS)) > 1000 and all(re.fullmatch(r"[A-Za-z-]+", word) for word in WORDS)
