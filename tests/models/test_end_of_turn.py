"""A base whose chat template ends a turn with another token than its tokenizer's end token stops at the turn's end."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from lm_eval.api.instance import Instance
from transformers import AutoTokenizer, GenerationConfig

from recipes.artifacts.steps import spec_of
from recipes.base.errors import RecipeError
from recipes.base.places import LAB_MODEL
from recipes.commands import export
from recipes.config.schema import Model
from recipes.methods.rl import grpo
from recipes.models import checkpoints, loader, rl_trainer
from recipes.models.chat_form import encode_replies
from recipes.models.learnt_rows import make_examples
from recipes.models.lm_eval_model import make_scorer
from recipes.models.sampling import sample_replies
from recipes.stages import cpt, sft
from tests.helpers.tables import cpt_table, rl_table, sft_table

ROW = {"prompt": [{"role": "user", "content": "What is the capital of France?"}], "completion": []}
ROW["completion"] = [{"role": "assistant", "content": "It is Paris."}]
GRADED = {"id": "r", "grader": "text", "answer": "Paris", "options": None, "unit": None, "tolerance": None}
LIMIT = 48


def changed(folder, template=lambda text: text):
    """The embedded base as it would be without tuning on turns: <|endoftext|> ends texts; its template is `template`
    of its own."""
    shutil.copytree(LAB_MODEL, folder)
    for name, change in {
        "tokenizer_config.json": {"eos_token": "<|endoftext|>"},
        "generation_config.json": {"eos_token_id": 0},
        "config.json": {"eos_token_id": 0},
    }.items():
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    file = folder / "chat_template.jinja"
    file.write_text(template(file.read_text()))
    return Model(name=str(folder))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return changed(tmp_path_factory.mktemp("other") / "base")


@pytest.fixture(scope="module")
def loaded(model):
    """(model, tokenizer) as `chat` and `export` load them."""
    return checkpoints.load(SimpleNamespace(model=model), {})


def test_the_token_that_ends_a_turn_is_the_end_token(model):
    assert AutoTokenizer.from_pretrained(model.name).eos_token == "<|endoftext|>"
    tokenizer = loader.load_tokenizer(model)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_a_template_that_closes_the_whole_conversation_too_is_read_at_the_turn(tmp_path):
    code = "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"  # as Phi-3 has it
    closed = changed(tmp_path / "base", lambda text: text + code)
    tokenizer = loader.load_tokenizer(closed)
    assert tokenizer.eos_token == "<|im_end|>"
    ([example], _) = make_examples(tokenizer, [ROW])
    assert tokenizer.decode(example["input_ids"]).endswith("Paris.<|im_end|>")


def test_a_template_whose_turns_no_token_ends_is_refused(tmp_path):
    plain = "{% for turn in messages %}{{ turn.role }}: {{ turn.content }}\n{% endfor %}"
    with pytest.raises(RecipeError, match=r"never stop(.|\n)*eos_token"):
        loader.load_tokenizer(changed(tmp_path / "base", lambda text: plain))


def test_chat_stops_at_the_end_of_the_turn(loaded):
    network, tokenizer = loaded
    assert network.generation_config.eos_token_id == [tokenizer.eos_token_id, 0]
    kept = network.generation_config.eos_token_id
    short = checkpoints.reply(network, tokenizer, [ROW], LIMIT)
    network.generation_config.eos_token_id = 0  # as it was loaded
    long = checkpoints.reply(network, tokenizer, [ROW], LIMIT)
    network.generation_config.eos_token_id = kept
    assert len(tokenizer(short)["input_ids"][0]) < LIMIT and len(short[0]) < len(long[0])


def test_sampling_for_self_training_and_the_reranker_stops_there(model, tmp_path):
    base, tokenizer = loader.load_base(model), loader.load_tokenizer(model)
    assert base.generation_config.eos_token_id == 0
    settings = dict(temperature=0.1, max_new_tokens=LIMIT, batch_size=2, seed=1, advance=lambda count: None)
    replies = sample_replies(base, tokenizer, [ROW | GRADED], tmp_path / "replies.jsonl", 2, **settings)
    assert all(len(tokenizer(entry["reply"])["input_ids"]) < LIMIT for entry in replies)


def test_the_evaluation_stops_there(model):
    tokenizer = loader.load_tokenizer(model)
    scorer = make_scorer(loader.load_base(model).eval(), tokenizer, 1)
    scorer.bar = SimpleNamespace(advance=lambda count: None)
    text = tokenizer.apply_chat_template(ROW["prompt"], tokenize=False, add_generation_prompt=True)
    asked = Instance("generate_until", {}, (text, {"until": [], "max_gen_toks": LIMIT, "do_sample": False}), 0)
    (reply,) = scorer.generate_until([asked])
    assert scorer.tokens < len(tokenizer(text)["input_ids"]) + LIMIT and "<|" not in reply


def test_supervised_tuning_learns_it(model, tmp_path):
    tokenizer = loader.load_tokenizer(model)
    spec = spec_of("sft", model=model, sft=sft_table(epochs=1, batch_tokens=64, max_length=64), seed=1)
    rows = Dataset.from_list(make_examples(tokenizer, [ROW] * 2)[0])
    trainer = sft.make_trainer(spec, loader.load_base(model), tokenizer, rows, 30.0, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    learnt = tokenizer.decode([token for token in batch["labels"][0].tolist() if token != -100])
    assert learnt == "It is Paris.<|im_end|>"


@pytest.mark.parametrize("algorithm", [{}, {"algorithm": "rloo"}, {"algorithm": "ppo", "beta": 0.05}])
def test_reinforcement_ends_replies_there(model, algorithm, tmp_path):
    table = rl_table(
        steps=1, prompts_per_step=2, group_size=2, max_completion_length=LIMIT, temperature=0.1, **algorithm
    )
    spec = spec_of("rl", model=model, rl=table, seed=1)
    base = loader.load_base(model)
    trainer, _ = rl_trainer.make_trainer(spec, base, loader.load_tokenizer(model), [ROW | GRADED] * 4, tmp_path)
    trainer.train()
    log = trainer.state.log_history[0]
    assert log["completions/clipped_ratio"] == 0.0 and log["completions/mean_length"] < LIMIT
    assert base.generation_config.eos_token_id == [2, 0]  # what is saved with a model whose every weight learns


def test_vllm_is_told_where_to_stop(model, tmp_path, monkeypatch):
    class Told(Exception):
        pass

    def stop(own, context):
        raise Told(context.shared["use_vllm"], context.shared["generation_kwargs"])

    monkeypatch.setattr(grpo, "make_trainer", stop)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    spec = spec_of("rl", model=model, rl=rl_table(use_vllm=True), seed=1)
    with pytest.raises(Told) as told:
        rl_trainer.make_trainer(spec, loader.load_base(model), loader.load_tokenizer(model), [ROW | GRADED], tmp_path)
    assert told.value.args == (True, {"stop_token_ids": [2]})


def test_what_is_exported_stops_by_itself(loaded, tmp_path):
    network, tokenizer = loaded
    export.write_merged(network, tmp_path / "out")
    tokenizer.save_pretrained(tmp_path / "out")
    assert GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id == [2, 0]
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token == "<|im_end|>"


def test_the_embedded_base_is_left_as_it_is():
    base = loader.load_base(Model())
    loader.stop_with(loader.load_tokenizer(Model()), base)
    assert base.generation_config.eos_token_id == 2


def ending(network, tokenizer):
    """P(end of turn) behind the gold reply."""
    ((asked, reply),) = encode_replies(tokenizer, [(ROW["prompt"], ROW["completion"][0]["content"])])
    assert reply[-1] == tokenizer.eos_token_id
    with torch.no_grad():
        logits = network(torch.tensor([asked + reply[:-1]], device=network.device)).logits
    return logits[0, -1].float().softmax(-1)[tokenizer.eos_token_id].item()


def test_a_document_ends_with_the_token_of_texts_and_a_chat_with_that_of_turns(model):
    for base in (model, Model()):  # whose tokenizers call either of the two their end token
        tokenizer = loader.load_tokenizer(base)
        ids = cpt.tokenised(tokenizer, [{"text": "One text."}, ROW, {"text": "Another."}])
        texts = [tokenizer.decode(some) for some in ids]
        assert texts[0] == "One text.<|endoftext|>" and texts[2] == "Another.<|endoftext|>"
        assert texts[1].endswith("It is Paris.<|im_end|>") and texts[1].count("<|im_end|>") == 2


def test_the_end_of_a_turn_grows_likelier_in_supervised_tuning_and_is_not_lost_in_pretraining(model, tmp_path):
    tokenizer, network = loader.load_tokenizer(model), loader.load_base(model)
    start = ending(network, tokenizer)
    texts = [{"text": f"The tide at place {number} is high. It falls after noon. " * 4} for number in range(16)]
    blocks = cpt.joined(cpt.tokenised(tokenizer, texts), 64, 1)
    spec = spec_of("cpt", model=model, cpt=cpt_table(epochs=2, batch_tokens=128, max_length=64), seed=1)
    cpt.make_trainer(spec, network, blocks, tokenizer, tmp_path / "cpt").train()
    between = ending(network, tokenizer)
    assert between > 0.5 * start
    spec = spec_of("sft", model=model, sft=sft_table(method="full", epochs=8, batch_tokens=64, max_length=64), seed=1)
    rows = Dataset.from_list(make_examples(tokenizer, [ROW] * 2)[0])
    sft.make_trainer(spec, network, tokenizer, rows, 30.0, tmp_path / "sft").train()
    assert ending(network, tokenizer) > max(start, between)
