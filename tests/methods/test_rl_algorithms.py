"""The algorithms behind `[rl]`: each through the stage on a tiny model, the order of prompts, self-training."""

import hashlib
import json
from contextlib import suppress

import pytest
import torch
from peft import get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig

from recipes.artifacts.steps import spec_of
from recipes.base.errors import RecipeError
from recipes.base.places import ROOT
from recipes.base.runtime import Runtime
from recipes.config.load import load
from recipes.config.schema import Model
from recipes.methods.rl.online_self_training.trainer import SelfTrainingTrainer
from recipes.models import loader, rl_trainer, training
from recipes.models.prompt_order import check_order, drawn, form
from recipes.models.rewards import format_reward, partial_reward
from recipes.models.sampling import sample_replies, self_training_rows
from recipes.stages import rl as stage
from tests.helpers.tables import rl_table
from tests.helpers.tiny_letters import lora, tiny, trainer_of

TABLES = {
    "grpo": rl_table(group_size=4),
    "rloo": rl_table(algorithm="rloo", group_size=4, beta=0.05),
    "ppo": rl_table(algorithm="ppo", group_size=1, prompts_per_step=8, beta=0.05, partial=0.1),
    "online_self_training": rl_table(algorithm="online_self_training", group_size=4),
}
SHORT = dict(steps=4, micro_batch=4, max_completion_length=6, save_steps=1, learning_rate=1e-2, order="difficulty")


def row(number, **more):
    prompt = [{"role": "user", "content": f"Compute {number} + 1."}]
    kept = {"id": f"r{number}", "kind": "calc", "node_id": "n", "fact_id": "f", "family": "x", "difficulty": number % 5}
    graded = {"grader": "numeric", "answer": str(number + 1), "options": None, "unit": None, "tolerance": 0.01}
    return {"prompt": prompt, **kept, **graded, **more}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """(spec of the base, {"data", "sft"}): a random model with the embedded tokenizer, an adapter, twelve rows."""
    home = tmp_path_factory.mktemp("rl")
    tokenizer = loader.load_tokenizer(Model())
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, head_dim=8)
    shape = Qwen3Config(vocab_size=len(tokenizer), num_key_value_heads=1, eos_token_id=tokenizer.eos_token_id, **sizes)
    random = Qwen3ForCausalLM(shape)
    random.generation_config.eos_token_id = list(range(0, len(tokenizer), 4))  # so that replies end by themselves
    random.save_pretrained(home / "base")
    tokenizer.save_pretrained(home / "base")
    model = Model(name=str(home / "base"))
    training.save_result(get_peft_model(loader.load_base(model), lora()), home / "sft" / "adapter")
    (home / "data").mkdir()
    (home / "data" / "rl.jsonl").write_text(
        "".join(json.dumps(row(n, reply=f"<answer>{n + 1}</answer>")) + "\n" for n in range(12))
    )
    return model, {"data": home / "data", "sft": home / "sft"}


def make_spec(inputs, name, **more):
    short = SHORT if name == "ppo" else SHORT | {"prompts_per_step": 2}
    table = TABLES.get(name) or rl_table(algorithm=name, group_size=4)
    return spec_of("rl", model=inputs[0], rl=table.model_copy(update=short | more), seed=3)


def weights(folder):
    return hashlib.sha256((folder / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module", autouse=True)
def lively():
    """Replies of a random model are all wrong; this reward differs between them, so that there is much to learn."""

    def accuracy_reward(completions, **_):
        return [float(len(reply[0]["content"]) % 2) for reply in completions]

    real, rl_trainer.accuracy_reward = rl_trainer.accuracy_reward, accuracy_reward
    yield real
    rl_trainer.accuracy_reward = real


@pytest.mark.parametrize("name", TABLES)
def test_each_algorithm_leaves_an_adapter_that_learnt_and_loads_on_the_base(name, inputs, tmp_path):
    spec = make_spec(inputs, name)
    metrics = stage.run(spec, inputs[1], tmp_path, Runtime())
    assert metrics["completions"] == rl_trainer.count_completions(spec.rl, 12) == {"ppo": 16}.get(name, 32)
    assert stage.forecast(spec, {"rl": 12}, tmp_path).notes.startswith(f"{metrics['completions']} ")
    loaded = loader.load_adapters(loader.load_base(inputs[0]), {"sft": inputs[1]["sft"] / "adapter"})
    loaded.load_adapter(str(tmp_path / "adapter"), adapter_name="rl")
    ids = torch.arange(5, 25).view(1, 20)
    found = []
    for adapter in ("sft", "rl"):
        loaded.set_adapter(adapter)
        found.append(loaded(ids).logits)
    assert not torch.allclose(*found, atol=1e-4)
    history = [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()]
    assert all("accuracy" in entry and "format" in entry for entry in history)
    assert ("sequence_kl" in history[0], "partial" in history[0]) == (name == "ppo", name == "ppo")
    merged = loader.load_adapters(loader.load_base(inputs[0]), {"rl": tmp_path / "adapter"}).merge_and_unload()
    assert torch.allclose(merged(ids).logits, found[1], atol=1e-4)


def test_offline_self_training_samples_once_and_learns_from_gold_and_right_replies(inputs, tmp_path, monkeypatch):
    spec = make_spec(inputs, "offline_self_training")
    for name in ("whole", "again"):
        (tmp_path / name).mkdir()
    # every second reply counts as right, whatever it says
    grade = "recipes.methods.rl.offline_self_training.trainer.grade"
    monkeypatch.setattr(grade, lambda row, reply: float(len(reply) % 2))
    metrics = stage.run(spec, inputs[1], tmp_path / "whole", Runtime())
    replies = [json.loads(line) for line in (tmp_path / "whole" / "replies.jsonl").read_text().splitlines()]
    assert metrics["completions"] == len(replies) == rl_trainer.count_completions(spec.rl, 12) == 32
    right = {(entry["id"], entry["reply"].strip()) for entry in replies if len(entry["reply"].strip()) % 2}
    assert 0 < metrics["own_replies"] <= len(right) and metrics["rows"] == 12 + metrics["own_replies"]
    history = [json.loads(line) for line in (tmp_path / "whole" / "training.jsonl").read_text().splitlines()]
    assert len(history) == 4 and all(entry["loss"] > 0 for entry in history)
    assert weights(tmp_path / "whole") != weights(inputs[1]["sft"])

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(training, "train", stop)
        stage.run(spec, inputs[1], tmp_path / "again", Runtime())
    with monkeypatch.context() as patch:
        patch.setattr(Qwen3ForCausalLM, "generate", lambda *_, **__: pytest.fail("a reply was sampled twice"))
        stage.run(spec, inputs[1], tmp_path / "again", Runtime())
    assert weights(tmp_path / "again") == weights(tmp_path / "whole")


@pytest.fixture(scope="module")
def whole_ppo(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    stage.run(make_spec(inputs, "ppo"), inputs[1], out, Runtime())
    return out


@pytest.mark.parametrize("place, step", [("on_step_begin", 3), ("on_train_end", 4)])
def test_ppo_goes_on_after_an_interruption_and_ends_with_the_same_weights(
    place, step, inputs, whole_ppo, tmp_path, monkeypatch
):
    """In the middle of a rollout (optimizer steps 2 and 3 share one), and after the last step."""

    class Stopped(Exception):
        pass

    def stop(self, args, state, control, **kwargs):
        if state.global_step == step:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(training.Watch, place, stop, raising=False)
        with pytest.raises(Stopped):
            stage.run(make_spec(inputs, "ppo"), inputs[1], tmp_path, Runtime())
    assert [f.name for f in (tmp_path / "checkpoints").glob("checkpoint-*")] == ["checkpoint-2"]
    stage.run(make_spec(inputs, "ppo"), inputs[1], tmp_path, Runtime())
    assert weights(tmp_path) == weights(whole_ppo)


@pytest.mark.parametrize("trained", ["before there is an adapter", "on the supervised adapter"])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("name", [*TABLES, "offline_self_training"])
def test_the_pilot_measures_every_algorithm_and_kind_of_weights(name, quantization, trained, inputs):
    spec = make_spec(inputs, name)
    spec = spec.model_copy(update={"model": inputs[0].model_copy(update={"quantization": quantization})})
    given = inputs[1] if "supervised" in trained else {"data": inputs[1]["data"]}
    assert stage.pilot(spec, given, Runtime()) > 0


@pytest.mark.parametrize("prompts", [2, 4])
@pytest.mark.parametrize("name", [*TABLES, "offline_self_training"])
def test_a_run_counts_the_tokens_of_the_replies_that_it_foresaw(name, prompts, inputs, tmp_path):
    """Of 16 prompts that four steps ask for, offline self-training finds twelve."""
    spec = make_spec(inputs, name, prompts_per_step=prompts if name != "ppo" else 2 * prompts)
    expected = stage.forecast(spec, {"rl": 12}, tmp_path)
    metrics = stage.run(spec, inputs[1], tmp_path, Runtime())
    assert expected.notes == f"{metrics['completions']} sampled replies"
    mean = metrics["tokens"] / metrics["completions"] - rl_trainer.PROMPT_TOKENS
    assert 1 <= mean <= spec.rl.max_completion_length + 1
    assert expected.tokens == rl_trainer.count_tokens(metrics["completions"], stage.REPLY_TOKENS)


def test_a_fully_trained_model_goes_through_ppo(inputs, tmp_path):
    base = loader.load_base(inputs[0])
    base.save_pretrained(tmp_path / "sft" / "model")
    loader.load_tokenizer(inputs[0]).save_pretrained(tmp_path / "sft" / "model")
    spec = make_spec(inputs, "ppo", steps=2)
    (tmp_path / "out").mkdir()
    stage.run(spec, {"data": inputs[1]["data"], "sft": tmp_path / "sft"}, tmp_path / "out", Runtime())
    ids = torch.arange(5, 25).view(1, 20)
    plain = loader.load_base(Model(name=str(tmp_path / "out" / "model")))
    assert not hasattr(plain, "v_head") and not torch.allclose(plain(ids).logits, base(ids).logits, atol=1e-4)


# --- rewards and the order of prompts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["embedded", "gpu", "paper"])
def test_the_reward_of_reft_is_that_of_the_paper(profile, lively):
    """ReFT, arXiv 2401.08967: 1 for a right answer, 0.1 for one that can be read, 0 for all else."""
    rl = load(ROOT / "recipes.toml", "reft", profile, here=False).settings("rl")
    answers = ("42", "7", "none")
    replies = [[{"content": f"<think>6 * 7</think>\n<answer>{answer}</answer>"}] for answer in answers]
    columns = {"grader": ["numeric"] * 3, "answer": ["42"] * 3, "options": [None] * 3, "unit": [None] * 3}
    parts = [f(replies, tolerance=[0.01] * 3, **columns) for f in (lively, format_reward, partial_reward)]
    weighed = [right + rl.format_weight * form + rl.partial * part for right, form, part in zip(*parts, strict=True)]
    assert weighed == [1.0, 0.1, 0.0] and rl.method.beta == 0.05  # the paper's for chains in words


def test_the_partial_reward_is_for_an_answer_that_can_be_read_and_is_wrong(lively):
    columns = dict(grader=["numeric"] * 3, answer=["4"] * 3, options=[None] * 3, unit=[None] * 3, tolerance=[0.01] * 3)
    replies = [[{"content": text}] for text in ("<answer>4</answer>", "<answer>5</answer>", "I do not know")]
    assert partial_reward(replies, **columns) == [0.0, 1.0, 0.0]
    assert lively(replies, **columns) == [1.0, 0.0, 0.0]


def test_forms_are_yes_or_no_then_choice_then_open():
    assert form({"grader": "text", "answer": "Yes", "options": None}) == 0
    assert form({"grader": "choice", "answer": "A", "options": ["True.", "False."]}) == 0
    assert form({"grader": "choice", "answer": "B", "options": ["10 mA", "20 mA"]}) == 1
    assert form({"grader": "numeric", "answer": "3", "options": None}) == 2


@pytest.mark.parametrize("prompts", [5, 12, 30])
def test_a_run_meets_its_prompts_from_easy_to_hard(prompts):
    rows = [row(n) for n in range(12)]
    met = drawn(rows, "difficulty", prompts, seed=1)
    assert [r["difficulty"] for r in met] == sorted(r["difficulty"] for r in met) and len(met) == prompts
    times = [[r["id"] for r in met].count(r["id"]) for r in rows]
    assert max(times) - min(times) <= 1  # every row once before any a second time
    assert met == drawn(rows, "difficulty", prompts, seed=1) != drawn(rows, "difficulty", prompts, seed=2)


def test_rows_without_a_difficulty_are_refused():
    with pytest.raises(RecipeError) as error:
        check_order([row(n, difficulty=None) for n in range(12)], "difficulty")
    assert "12 of 12 rows without a difficulty" in str(error.value)


@pytest.mark.parametrize(("order", "said"), [("kind", "12 rows of open"), ("difficulty", "12 rows of difficulty 1")])
def test_an_order_over_a_single_level_is_refused_before_a_model_is_loaded(order, said, inputs, tmp_path):
    rows = [row(n, difficulty=1) for n in range(12)]
    (tmp_path / "rl.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    with pytest.raises(RecipeError, match="no order is among them") as error:
        stage.run(make_spec(inputs, "grpo", order=order), {"data": tmp_path}, tmp_path, Runtime())
    assert said in str(error.value)
    check_order(rows, "random")


def test_naming_one_of_some_classes_is_a_choice_between_them():
    assert [form(row(1, grader=grader)) for grader in ("label", "class", "choice", "numeric", "close")] == [
        1,
        1,
        1,
        2,
        2,
    ]
    assert form(row(1, grader="choice", answer="yes")) == 0


def prompts_met(spec, inputs, out, monkeypatch, until=None):
    """Prompts of every rollout of a run, in order; `until` stops it before that optimizer step."""
    met = []

    class Stopped(Exception):
        pass

    def stop(self, args, state, control, **kwargs):
        if state.global_step == until:
            raise Stopped

    def note(completions, prompts, **_):
        met.append(list(dict.fromkeys(p[0]["content"] for p in prompts)))
        return [0.5] * len(completions)

    out.mkdir(exist_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(rl_trainer, "format_reward", note)
        patch.setattr(training.Watch, "on_step_begin", stop, raising=False)
        with suppress(Stopped):
            stage.run(spec, inputs, out, Runtime())
    return met


def test_the_steps_meet_the_sorted_rows_in_order_also_over_a_resume(inputs, tmp_path, monkeypatch):
    spec = make_spec(inputs, "ppo", prompts_per_step=2)
    rows = training.read_rows(inputs[1]["data"] / "rl.jsonl")
    prompts = rl_trainer.count_completions(spec.rl, len(rows)) // spec.rl.group_size
    expected = [r["prompt"][0]["content"] for r in drawn(rows, "difficulty", prompts, spec.seed)]
    whole = prompts_met(spec, inputs[1], tmp_path / "whole", monkeypatch)
    assert [p for step in whole for p in step] == expected
    cut = prompts_met(spec, inputs[1], tmp_path / "cut", monkeypatch, until=2)
    again = prompts_met(spec, inputs[1], tmp_path / "cut", monkeypatch)
    assert cut + again == whole


# --- self-training ----------------------------------------------------------------------------------------------------


def test_online_self_training_has_the_gradient_of_the_right_replies_likelihood(tmp_path):
    def right(completions, **_):
        return [float(reply[:1] < "k") for reply in completions]

    trainer = trainer_of(
        tiny(),
        tmp_path,
        reward=right,
        cls=SelfTrainingTrainer,
        make=GRPOConfig,
        num_generations=4,
        loss_type="dapo",
        beta=0.0,
    )
    trainer.current_gradient_accumulation_steps = 1
    rows = [r for r in trainer.train_dataset.select(range(2)) for _ in range(4)]
    output = trainer._generate_and_score_completions(rows)
    good = output["advantages"].bool()
    assert 0 < good.sum() < 8 and set(output["advantages"].tolist()) == {0.0, 1.0}
    model = trainer.model
    trainer._compute_loss(model, dict(output)).backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)[good]
    mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)[good]
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, : output["prompt_ids"].size(1)] = -100
    model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert expected.abs().max() > 0 and torch.allclose(found, expected, atol=1e-5)


def asked(inputs, file, rows, advance=lambda n: None):
    model = loader.load_base(inputs[0])
    settings = dict(temperature=1.0, max_new_tokens=5, batch_size=4, seed=1, advance=advance)
    return sample_replies(model, loader.load_tokenizer(inputs[0]), rows, file, 3, **settings)


@pytest.mark.parametrize("lines, half", [(5, 0), (8, 20), (0, 7), (12, 0)])
def test_sampling_goes_on_after_a_kill_and_ends_with_the_same_file(inputs, tmp_path, lines, half):
    rows = [row(n) for n in range(4)]
    whole = asked(inputs, tmp_path / "whole.jsonl", rows)
    assert len(whole) == 12 and len({entry["reply"] for entry in whole}) > 3
    stored = [*(tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True), b""]
    (tmp_path / "cut.jsonl").write_bytes(b"".join(stored[:lines]) + stored[lines][:half])
    told = []
    assert asked(inputs, tmp_path / "cut.jsonl", rows, told.append) == whole
    assert (tmp_path / "cut.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert sum(told) == 12 and told[0] == lines // 4 * 4


def test_distinct_right_replies_join_the_gold_rows(monkeypatch):
    rows = [row(3), row(4)]
    gold = [{"prompt": rows[0]["prompt"], "completion": [{"role": "assistant", "content": "It is <b>4</b>"}]}]
    texts = ["4", "4 ", "four 4", "5", "It is  <b>4</b>", ""]
    replies = [{"id": "r3", "number": n, "reply": text} for n, text in enumerate(texts)]
    replies.append({"id": "r4", "number": 0, "reply": "5"})
    found = self_training_rows(rows, replies, gold, lambda r, text: float(r["answer"] in text))
    assert found[0] is gold[0]
    assert [(r["lineage"]["self_training_of"], r["completion"][0]["content"]) for r in found[1:]] == [
        ("r3", "4"),
        ("r3", "four 4"),
        ("r4", "5"),
    ]
    assert len({r["id"] for r in found[1:]}) == 3 and {"kind", "node_id", "fact_id", "family"} <= found[1].keys()


@pytest.mark.parametrize("name", ["grpo", "rloo", "online_self_training", "offline_self_training"])
def test_a_recipe_of_ppo_is_switched_to_another_algorithm_by_its_name(name):
    grouped = [f"rl.method.use={name}", "rl.group_size=8", "rl.prompts_per_step=8"]
    alone = ["rl.partial=0.0", "rl.format_weight=0.1"] if "self_training" in name else []
    method = load(ROOT / "recipes.toml", "reft", sets=grouped + alone).settings("rl").method
    assert method.use == name and getattr(method, "beta", 0.0) == 0.0, "nothing of PPO's own settings is left"
