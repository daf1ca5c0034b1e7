"""The reranker: trained on graded replies of the supervised model, it picks one of several."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from recipes.artifacts.lineage import start
from recipes.artifacts.steps import spec_of
from recipes.base.errors import ConfigErrors, RecipeError
from recipes.base.places import ROOT
from recipes.base.runtime import Runtime
from recipes.config.load import load
from recipes.methods.infer import rerank as infer_rerank
from recipes.models import loader, reranker, sampling, training
from recipes.models.answering import AnsweringContext
from recipes.models.loramoe.config import LoraMoeConfig
from recipes.stages import rerank
from tests.helpers.tiny_text import tiny_model

TABLE = rerank.Config(
    prompts=32, samples=4, epochs=12, learning_rate=1e-2, batch_rows=32, rank=8, alpha=16.0, log_steps=1
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A `[model]` table that names the folder of a random model."""
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Data with 32 prompts that all have one answer, so that a judge of two layers can learn it; no trained stage."""
    folder = tmp_path_factory.mktemp("data")
    rows = [
        {
            "id": f"r{n}",
            "prompt": [{"role": "user", "content": f"Question {n}: how many?"}],
            "answer": "7",
            "grader": "numeric",
            "unit": None,
            "tolerance": None,
            "options": None,
        }
        for n in range(32)
    ]
    (folder / "rl.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"data": folder}


def scripted(values):
    """In place of sampling: the replies to every prompt, in turn."""

    def sample(policy, tokenizer, rows, file, samples, **settings):
        return [
            {"id": row["id"], "number": n, "reply": f"<answer>{values[n % len(values)]}</answer>"}
            for row in rows
            for n in range(samples)
        ]

    return sample


@pytest.fixture(scope="module")
def trained(model, done, tmp_path_factory):
    out = tmp_path_factory.mktemp("rerank")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "sample_replies", scripted([3, 7, 5, 3]))
        metrics = rerank.run(spec_of("rerank", model=model, rerank=TABLE, seed=1), done, out, Runtime())
    return out, metrics


def test_it_picks_right_replies_to_prompts_that_it_was_not_trained_on(trained):
    _, metrics = trained
    assert metrics["replies"] == 128 and metrics["distinct"] == 96 and metrics["right"] == pytest.approx(1 / 3)
    assert (metrics["held_out"], metrics["one"], metrics["any"]) == (4, 0.25, 1.0)
    assert metrics["picked"] == 1.0


def test_what_is_written_picks_the_same(model, done, trained):
    judge, tokenizer = reranker.load_reranker(model, done | {"rerank": trained[0]})
    prompt = [{"role": "user", "content": "Question 0: how many?"}]
    texts = [f"<answer>{value}</answer>" for value in (5, 3, 7, 7)]
    assert reranker.pick(judge, tokenizer, [prompt, prompt], [texts, texts[::-1]]) == [2, 0]


def test_scores_do_not_depend_on_what_stands_in_the_batch(model, done, trained):
    judge, tokenizer = reranker.load_reranker(model, done | {"rerank": trained[0]})
    short, long = "<answer>7</answer>", "so " * 60 + "<answer>3</answer>"
    alone = reranker.logits_of(judge, tokenizer, [short])
    assert reranker.logits_of(judge, tokenizer, [long, short])[1] == pytest.approx(alone[0], abs=1e-4)


@pytest.fixture(scope="module")
def tuned(model, tmp_path_factory):
    """Kind of supervised result -> its folder, none of them like the base."""
    home, found = tmp_path_factory.mktemp("tuned"), {}
    for kind, config in {"lora": LoraConfig, "loramoe": LoraMoeConfig}.items():
        policy = get_peft_model(
            loader.load_base(model), config(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
        )
        shake(policy)
        training.save_result(policy, home / kind / "adapter")
        found[kind] = home / kind
    whole = loader.load_base(model)
    shake(whole)
    training.save_result(whole, home / "full" / "model")
    loader.load_tokenizer(model).save_pretrained(home / "full" / "model")
    return found | {"full": home / "full"}


def shake(network):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape, generator=generator)


@pytest.mark.parametrize("kind", ["lora", "loramoe", "full"])
def test_a_judge_stands_on_whatever_supervised_tuning_left_and_leaves_it_alone(kind, model, done, tuned, tmp_path):
    inputs, ids = done | {"sft": tuned[kind]}, torch.arange(5, 25).view(1, 20)
    whole, adapter = start(model, inputs, "sft")
    policy = loader.load_base(whole)
    policy = policy if adapter is None else loader.load_adapters(policy, {"default": adapter}).get_base_model()
    wanted = policy.model.eval()(ids).last_hidden_state
    judge = reranker.make_judge(model, inputs).eval()
    assert torch.allclose(judge.model(ids).last_hidden_state, wanted, atol=1e-5)
    assert not torch.allclose(loader.load_base(model).model(ids).last_hidden_state, wanted, atol=1e-2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "sample_replies", scripted([3, 7, 5, 3]))
        metrics = rerank.run(spec_of("rerank", model=model, rerank=TABLE, seed=1), inputs, tmp_path, Runtime())
    assert metrics["picked"] > metrics["one"]
    learning = reranker.trainable(reranker.make_judge(model, inputs), 2, 4.0)
    names = [name for name, weight in learning.named_parameters() if weight.requires_grad]
    assert all(".lora_" in name or ".score." in name for name in names) and len(names) == 2 * 14 + 1
    judge, _ = reranker.load_reranker(model, inputs | {"rerank": tmp_path})
    written = load_file(tmp_path / "reranker" / "adapter_model.safetensors")
    kept = {name.replace(".lora_A.default", ".lora_A"): weight for name, weight in judge.named_parameters()}
    down = [name for name in written if ".lora_A." in name]
    assert len(down) == 14 and all(torch.equal(kept[name], written[name]) for name in down)
    for module in judge.modules():
        if hasattr(module, "lora_B"):
            module.lora_B["default"].weight.data.zero_()  # without the judge's own adapter
    assert torch.allclose(judge.get_base_model().model(ids).last_hidden_state, wanted, atol=1e-5)


def test_replies_that_are_all_wrong_teach_nothing_and_are_named(model, done, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "sample_replies", scripted([3, 4]))
    with pytest.raises(RecipeError, match="nothing to tell apart"):
        rerank.run(spec_of("rerank", model=model, rerank=TABLE, seed=1), done, tmp_path, Runtime())


def test_of_the_replies_to_an_item_the_one_that_the_reranker_picks_counts(model, done, trained):
    inputs = done | {"rerank": trained[0]}
    way = infer_rerank.answer(
        infer_rerank.Config(samples=3), AnsweringContext(model, inputs, 1, lambda folder: folder.name)
    )
    doc = {"prompt": [{"role": "user", "content": "Question 0: how many?"}]}
    assert way.choose(doc, [f"<answer>{value}</answer>" for value in (3, 7, 5)]) == "<answer>7</answer>"
    assert (way.samples, way.temperature, way.decided_by) == (3, 1.0, ("reranker",))


def test_reranking_without_a_reranker_is_refused():
    with pytest.raises(ConfigErrors, match="needs a reranker"):
        load(ROOT / "recipes.toml", "reft", sets=["eval.infer.rerank.samples=4"])


def test_training_goes_on_after_an_interruption_and_ends_with_the_same_judge(
    model, done, trained, tmp_path, monkeypatch
):
    class Stopped(Exception):
        pass

    def stop(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise Stopped

    spec = spec_of("rerank", model=model, rerank=TABLE.model_copy(update={"save_steps": 2}), seed=1)
    monkeypatch.setattr(sampling, "sample_replies", scripted([3, 7, 5, 3]))
    with monkeypatch.context() as patch:
        patch.setattr(training.Watch, "on_step_begin", stop, raising=False)
        with pytest.raises(Stopped):
            rerank.run(spec, done, tmp_path, Runtime())
    assert list(tmp_path.glob("checkpoints/checkpoint-4"))
    rerank.run(spec, done, tmp_path, Runtime())
    ended, alone = (load_file(folder / "reranker" / "adapter_model.safetensors") for folder in (tmp_path, trained[0]))
    assert all(torch.equal(ended[key], alone[key]) for key in alone)
