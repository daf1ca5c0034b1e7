"""What we teach TRL's trainers to do on a CPU leaves their results as they are."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
import trl.trainer.utils as head
from datasets import Dataset
from transformers import Qwen3Config, Qwen3ForCausalLM, TrainingArguments, get_scheduler

from recipes.artifacts.steps import spec_of
from recipes.base.errors import RecipeError
from recipes.base.runtime import Runtime
from recipes.config.schema import Model
from recipes.models import grpo_trainer as grpo
from recipes.models import loader, rl_trainer, training
from recipes.models.grpo_trainer import teaching
from recipes.stages import cpt, sft
from tests.helpers.tables import cpt_table, rl_table, sft_table
from tests.helpers.tiny_text import tiny_model


def tiny():
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return Qwen3ForCausalLM(config)


@pytest.fixture
def batch():
    """Two rows of 12 tokens of which 5 and 3 are learnt from."""
    ids = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[0, :7] = -100
    labels[1, :9] = -100
    return {"input_ids": ids, "labels": labels}


def scored(monkeypatch, model, batch):
    """(positions that went through the head, loss, gradient of the head) of TRL's fused loss."""
    rows, kernel = [], head._ChunkedLogProbFunction.apply
    with monkeypatch.context() as patch:
        spy = type(
            "Spy",
            (),
            {"apply": staticmethod(lambda hidden, *rest: (rows.append(len(hidden)), kernel(hidden, *rest))[1])},
        )
        patch.setattr(head, "_ChunkedLogProbFunction", spy)
        model.zero_grad()
        loss = model(**batch, fused_lm_head=True).loss
        loss.backward()
    return rows, loss.item(), model.lm_head.weight.grad.clone()


def test_on_a_cpu_only_learnt_positions_are_scored_and_loss_and_gradient_stay(monkeypatch, batch):
    model = tiny()
    head.add_fused_lm_head(model)
    monkeypatch.setattr(head, "_use_triton", lambda device: False)
    all_rows, loss, gradient = scored(monkeypatch, model, batch)
    training.score_learnt_positions()
    learnt_rows, same_loss, same_gradient = scored(monkeypatch, model, batch)
    assert all_rows == [22] and learnt_rows == [8]
    assert same_loss == pytest.approx(loss, rel=1e-6)
    assert torch.allclose(same_gradient, gradient, atol=1e-6)


def test_a_batch_without_anything_to_learn_gives_a_finite_zero(batch):
    model = tiny()
    head.add_fused_lm_head(model)
    training.score_learnt_positions()
    loss = model(input_ids=batch["input_ids"], labels=torch.full_like(batch["labels"], -100), fused_lm_head=True).loss
    loss.backward()
    assert loss.item() == 0.0


def test_training_on_a_cpu_takes_the_kernel_that_runs_in_hardware(monkeypatch):
    monkeypatch.setattr(loader, "device", lambda: "cpu")
    monkeypatch.setattr(loader, "fast_bf16", lambda: True)
    assert loader.choose_attention(Model(), training=True) == "eager"
    assert loader.choose_attention(Model()) == "sdpa"
    assert loader.choose_attention(Model(attn="sdpa"), training=True) == "sdpa"
    monkeypatch.setattr(loader, "fast_bf16", lambda: False)
    assert loader.choose_attention(Model(), training=True) == "sdpa"


def test_a_kernel_of_the_hub_is_handed_on_by_name_and_needs_its_package(monkeypatch):
    model = Model(attn="kernels-community/flash-attn2@v1")
    monkeypatch.setattr(loader, "is_kernels_available", lambda: False)
    with pytest.raises(RecipeError, match="a kernel of the hub cannot be loaded here") as error:
        loader.load_base(model)
    assert "pip install 'kernels>=" in str(error.value) and "kernels-community/flash-attn2@v1" in str(error.value)
    monkeypatch.setattr(loader, "is_kernels_available", lambda: True)
    given = []
    monkeypatch.setattr(loader.AutoModelForCausalLM, "from_pretrained", lambda *_, **kept: given.append(kept) or tiny())
    for trusted in (False, True):
        loader.load_base(model.model_copy(update={"trust_remote_code": trusted}), training=True)
    assert [kept["attn_implementation"] for kept in given] == ["kernels-community/flash-attn2@v1"] * 2
    assert [kept["allow_all_kernels"] for kept in given] == [False, True]  # of owners that transformers does not know


@pytest.mark.parametrize(("generation", "hardware"), [(7, False), (8, True)])
def test_a_gpu_that_only_emulates_bf16_holds_float32_unless_told_otherwise(generation, hardware, monkeypatch):
    """Generation 7 is V100 and T4, 8 is A100; torch says that both support bf16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=generation))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    monkeypatch.setattr(loader.importlib.util, "find_spec", lambda name: object())
    assert torch.cuda.is_bf16_supported() and loader.fast_bf16() == hardware
    assert loader.choose_dtype(Model()) == (torch.bfloat16 if hardware else torch.float32)
    assert loader.choose_dtype(Model(dtype="bfloat16")) == torch.bfloat16
    assert loader.choose_attention(Model()) == ("flash_attention_2" if hardware else "sdpa")


def test_every_weight_learns_in_float32_unless_the_recipe_names_another_dtype():
    assert loader.every_weight(tiny().bfloat16(), Model()).dtype == torch.float32
    assert loader.every_weight(tiny().bfloat16(), Model(dtype="bfloat16")).dtype == torch.bfloat16


def test_both_kernels_give_the_same_loss_in_training():
    ids = torch.arange(3, 43).view(2, 20)
    losses = []
    for attn in ("eager", "sdpa"):
        base = loader.load_base(Model(attn=attn), training=True)
        losses.append(base(input_ids=ids, labels=ids).loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def replies(advantages, lengths, prompts):
    """A batch of replies as GRPO has it: prompts padded left, replies right; length 0 is a reply masked whole."""
    generator = torch.Generator().manual_seed(2)
    prompt_mask = torch.tensor([[0] * (6 - n) + [1] * n for n in prompts])
    completion_mask = torch.tensor([[1] * n + [0] * (9 - n) for n in lengths])
    return {
        "prompt_ids": torch.randint(0, 50, (len(prompts), 6), generator=generator),
        "prompt_mask": prompt_mask,
        "completion_ids": torch.randint(0, 50, (len(lengths), 9), generator=generator),
        "completion_mask": completion_mask,
        "advantages": torch.tensor(advantages),
        "num_items_in_batch": completion_mask.sum(),
    }


def test_only_replies_that_teach_are_kept_and_padding_goes():
    batch = replies([0.0, 1.2, -0.7, 0.5], [9, 4, 0, 7], [6, 3, 2, 4])
    kept = teaching(batch)
    assert kept["advantages"].tolist() == pytest.approx([1.2, 0.5])
    assert kept["completion_ids"].tolist() == batch["completion_ids"][[1, 3], :7].tolist()
    assert kept["prompt_ids"].tolist() == batch["prompt_ids"][[1, 3], -4:].tolist()
    assert kept["prompt_mask"].shape == kept["prompt_ids"].shape and kept["completion_mask"].shape == (2, 7)


def test_one_reply_stays_where_none_teaches():
    kept = teaching(replies([0.0, 0.0], [3, 5], [2, 2]))
    assert kept["advantages"].tolist() == [0.0] and kept["completion_ids"].shape == (1, 3)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    """The recipe's own RL trainer on a tiny model."""
    row = {"prompt": [{"role": "user", "content": "Compute 1 + 1."}], "grader": "numeric", "answer": "2"}
    rows = [row | {"options": None, "unit": None, "tolerance": 0.01}] * 8
    stage = spec_of("rl", model=Model(), rl=rl_table(steps=1, prompts_per_step=2, group_size=2), seed=1)
    made, _ = rl_trainer.make_trainer(
        stage, tiny(), loader.load_tokenizer(Model()), rows, tmp_path_factory.mktemp("rl")
    )
    return made


def gradient(trainer, batch):
    model = trainer.model.float()
    model.zero_grad()
    trainer.compute_loss(model, dict(batch)).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def test_the_gradient_is_that_of_all_replies(trainer, monkeypatch):
    trainer.current_gradient_accumulation_steps = 1
    monkeypatch.setattr(trainer.accelerator, "autocast", nullcontext)
    batch = replies([0.0, 1.2, -0.7, 0.5], [9, 4, 0, 7], [6, 3, 2, 4])
    spared = gradient(trainer, batch)
    monkeypatch.setattr(grpo, "teaching", lambda inputs: {})
    whole = gradient(trainer, batch)
    assert whole.abs().max() > 0 and torch.allclose(spared, whole, atol=1e-5)


@pytest.mark.parametrize("setting", [("beta", 0.1), ("loss_type", "grpo")])
def test_every_reply_is_kept_where_another_term_or_mean_looks_at_it(trainer, monkeypatch, setting):
    monkeypatch.setattr(trainer, *setting)
    monkeypatch.setattr(grpo, "teaching", lambda inputs: pytest.fail("a reply was left out"))
    monkeypatch.setattr(grpo.GRPOTrainer, "_compute_loss", lambda self, model, inputs: inputs)
    batch = replies([0.0, 1.0], [3, 5], [2, 2])
    assert trainer.compute_loss(trainer.model, batch) == batch


def test_the_count_of_tokens_goes_on_from_a_checkpoint(tmp_path):
    """TRL begins to count anew; a checkpoint between two logged steps counts in proportion.

    That its own count then goes on from there, a run shows that is interrupted (tests/stages/test_stages.py).
    """
    log = [{"step": 10, "num_tokens": 500.0}, {"step": 20, "num_tokens": 1000.0}, {"step": 20, "reward": 1.0}]
    checkpoint = tmp_path / training.CHECKPOINTS / "checkpoint-24"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": 24, "log_history": log}))
    training.seal(checkpoint)
    nobody = SimpleNamespace(callbacks=[])
    trainer = SimpleNamespace(train=lambda resume_from_checkpoint: None, callback_handler=nobody)
    training.train(trainer, tmp_path)
    assert trainer._total_train_tokens == 1200
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": 24, "log_history": []}))
    training.seal(checkpoint)
    training.train(trainer, tmp_path)
    assert trainer._total_train_tokens == 0


def test_a_broken_line_of_the_rows_is_named(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a"}\n\n{"text": "b"}\n', encoding="utf-8")
    assert training.read_rows(file) == [{"text": "a"}, {"text": "b"}]
    file.write_text("{}\n{", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"rows\.jsonl, line 2"):
        training.read_rows(file)


@pytest.mark.parametrize("scheduler", ["constant", "cosine", "linear"])
@pytest.mark.parametrize("warm", [4, 0.4, 0])
def test_the_rate_rises_over_the_warm_up_under_every_scheduler(scheduler, warm, tmp_path):
    """transformers' own "constant" leaves the warm-up out. Of 10 steps 4 are warm-up, given as a number or a share."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    arguments = TrainingArguments(str(tmp_path), lr_scheduler_type=training.schedule(scheduler), warmup_steps=warm)
    steps = get_scheduler(arguments.lr_scheduler_type, optimizer, arguments.get_warmup_steps(10), 10)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        steps.step()
    assert rates[: 5 if warm else 1] == pytest.approx([0, 0.25, 0.5, 0.75, 1] if warm else [1])
    assert scheduler != "constant" or rates[5:] == [1.0] * 5


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("base"))


ALGORITHMS = ["grpo", "rloo", "ppo", "online_self_training", "offline_self_training"]


def stage_trainer(kind, base, folder):
    """The trainer that a stage makes for ten steps, four of them warm-up, under the scheduler "constant"."""
    tokenizer, model = loader.load_tokenizer(base), loader.load_base(base)
    turns = {
        "prompt": [{"role": "user", "content": "Compute 2 + 1."}],
        "completion": [{"role": "assistant", "content": "<answer>3</answer>"}],
    }
    given = {"learning_rate": 1.0, "scheduler": "constant"}
    text = given | {"epochs": 1, "max_length": 32, "batch_tokens": 64, "warmup_ratio": 0.4}
    if kind == "sft":
        spec = spec_of("sft", model=base, sft=sft_table(**text), seed=1)
        return sft.make_trainer(spec, model, tokenizer, Dataset.from_list([turns] * 20), 32.0, folder)
    if kind == "cpt":
        spec = spec_of("cpt", model=base, cpt=cpt_table(**text), seed=1)
        return cpt.make_trainer(spec, model, [[9] * 32] * 20, tokenizer, folder)
    beta = {"beta": 0.05} if kind == "ppo" else {}
    table = rl_table(algorithm=kind, steps=10, prompts_per_step=2, group_size=2, warmup_steps=4, **given, **beta)
    graded = {"grader": "numeric", "answer": "3", "options": None, "unit": None, "tolerance": 0.01, "difficulty": 0}
    spec = spec_of("rl", model=base, rl=table, seed=1)
    about = {"id": "r", "reply": "<answer>3</answer>", "kind": "calc", "node_id": "", "fact_id": "", "family": ""}
    return rl_trainer.make_trainer(spec, model, tokenizer, [turns | graded | about] * 4, folder, Runtime())[0]


@pytest.mark.parametrize("kind", ["sft", "cpt", *ALGORITHMS])
def test_every_stage_warms_up_to_a_constant_rate(kind, base, tmp_path):
    trainer = stage_trainer(kind, base, tmp_path)
    steps = trainer.create_scheduler(10, trainer.create_optimizer())
    rates = []
    for _ in range(10):
        rates.append(steps.get_last_lr()[0])
        trainer.optimizer.step()
        steps.step()
    assert rates == pytest.approx([0, 0.25, 0.5, 0.75] + [1] * 6)


@pytest.mark.parametrize(
    ("limits", "longest", "rows", "accumulated"),
    [
        ({"micro_batch": 8}, 300, 8, 4),
        ({"micro_tokens": 2048}, 128, 16, 2),
        ({"micro_tokens": 2048, "micro_batch": 8}, 128, 8, 4),
        ({"micro_tokens": 2048}, 4096, 1, 32),
    ],
)
def test_a_micro_batch_holds_as_many_rows_as_fit_if_all_were_as_long_as_the_longest(
    limits, longest, rows, accumulated, tmp_path
):
    given = training.text_arguments(sft_table(**limits), 32, longest, 1, tmp_path)
    assert (given["per_device_train_batch_size"], given["gradient_accumulation_steps"]) == (rows, accumulated)
