"""Broken configurations: each is refused before anything starts, with words that say where, what and what instead."""

import pytest

from recipes.base.errors import ConfigErrors, RecipeError
from recipes.config import validate
from recipes.config.load import load

GOOD = """
[demo]
summary = "a demonstration"
builder = "analogseeker"

[demo.model]
name = "embedded"

[demo.sft]
learning_rate = 1e-4
max_length = 512

[demo.rl]
steps = 20

[demo.eval]
tasks = ["demo_knowledge", "demo_calculation"]
general = ["general_facts"]

[demo.profiles.gpu.model]
name = "Qwen/Qwen2.5-7B-Instruct"
"""

# name of the case: (edit of the file as (old, new), --set strings, what the error text must hold)
BROKEN = {
    "unknown key at the top": (
        ("builder =", "bilder = 'x'\nbuilder ="),
        [],
        ["bilder: unknown key", "[demo] bilder", "'builder'"],
    ),
    "unknown key in a table": (
        ("max_length", "max_lenght"),
        [],
        ["sft.max_lenght: unknown key", "[demo.sft]", "512", "did you mean 'max_length'"],
    ),
    "unknown table": (("[demo.rl]", "[demo.reinforce]"), [], ["reinforce: unknown key", "allowed"]),
    "unknown key in a profile": (
        ('name = "Qwen', 'nam = "Qwen'),
        [],
        ["model.nam: unknown key", "[demo.profiles.gpu.model]", "'name'"],
    ),
    "unknown key in the data": (
        None,
        ["data.crpus=x"],
        ["data.crpus: unknown key", "--set data.crpus", "did you mean 'corpus'"],
    ),
    "unknown nested key in the data": (
        None,
        ["data.tests.knowlege=3"],
        ["data.tests.knowlege: unknown key", "'knowledge'"],
    ),
    "no summary": (('summary = "a demonstration"', ""), [], ["summary: is missing", "[demo]"]),
    "empty summary": (('"a demonstration"', '""'), [], ["summary: wrong value", "length >= 1"]),
    "no builder": (('builder = "analogseeker"', ""), [], ["builder: is missing", "data_builders"]),
    "builder does not exist": (
        ('"analogseeker"', '"analogseker"'),
        [],
        ["no such builder", "did you mean 'analogseeker'"],
    ),
    "builder is a number": (('"analogseeker"', "3"), [], ["builder: wrong value", "a string"]),
    "seed is negative": (None, ["seed=-1"], ["seed: wrong value", ">= 0"]),
    "seed is a fraction": (None, ["seed=1.5"], ["seed: wrong value", "a whole number"]),
    "seed is too large": (None, ["seed=4294967296"], ["seed: wrong value", "< 4294967296"]),
    "true is no number": (
        None,
        ["sft.adapter.rank=true"],
        ["sft.adapter.rank: wrong value", "got     true", "a whole number"],
    ),
    "text is no number": (("1e-4", '"1e-4"'), [], ["sft.learning_rate: wrong value", 'got     "1e-4"', "a number > 0"]),
    "rate is zero": (None, ["sft.learning_rate=0"], ["sft.learning_rate: wrong value", "> 0 and <= 1"]),
    "rate is above one": (None, ["sft.learning_rate=10.0"], ["sft.learning_rate: wrong value", "<= 1"]),
    "rate is not a number": (None, ["sft.learning_rate=nan"], ["sft.learning_rate: wrong value", "nan"]),
    "method is unknown": (
        None,
        ["sft.adapter.use=lorra"],
        ["sft.adapter.use: no method of the slot adapters", "full, lora, loramoe", "did you mean 'lora'"],
    ),
    "scheduler is unknown": (None, ["sft.scheduler=cosin"], ["sft.scheduler", "did you mean 'cosine'"]),
    "rank is zero": (None, ["sft.adapter.rank=0"], ["sft.adapter.rank: wrong value", ">= 1"]),
    "dropout is one": (None, ["sft.adapter.dropout=1.0"], ["sft.adapter.dropout: wrong value", "< 1"]),
    "warm-up is negative": (None, ["sft.warmup_ratio=-0.1"], ["sft.warmup_ratio: wrong value", ">= 0"]),
    "no epochs": (None, ["sft.epochs=0"], ["sft.epochs: wrong value", "> 0"]),
    "batch is negative": (None, ["sft.batch_tokens=-4096"], ["sft.batch_tokens: wrong value", ">= 1"]),
    "batch is smaller than a row": (None, ["sft.batch_tokens=100"], ["sft.batch_tokens", ">= 512", "one row"]),
    "target is a string": (
        None,
        ["sft.adapter.target=q_proj"],
        ["sft.adapter.target: wrong value", "a list of strings"],
    ),
    "target holds a number": (
        None,
        ["sft.adapter.target=['q_proj', 3]"],
        ["sft.adapter.target.1: wrong value", "got     3"],
    ),
    "all-linear and another": (None, ["sft.adapter.target=['all-linear', 'q_proj']"], ['"all-linear" stands alone']),
    "packing is a word": (None, ["sft.packing=yes"], ["sft.packing: wrong value", "true or false"]),
    "nothing is trained": (
        ("[demo.sft]\nlearning_rate = 1e-4\nmax_length = 512", ""),
        ["rl=false"],
        ["sft: the table is missing", "no stage trains a model", "add [demo.sft]"],
    ),
    "sft is a value": (None, ["sft=3"], ["sft: must be a table", "got     3"]),
    "a key below a value": (None, ["sft.adapter.rank.x=3"], ["sft.adapter.rank: wrong value"]),
    "a key below a value of the file": (None, ["sft.learning_rate.x=3"], ["sft.learning_rate is a value, not a table"]),
    "group of none": (None, ["rl.group_size=0"], ["rl.group_size: wrong value", ">= 1"]),
    "group of one": (
        None,
        ["rl.group_size=1"],
        ["rl.group_size: grpo needs several replies", ">= 2", '"ppo"'],
    ),
    "rloo with a group of one": (
        None,
        ["rl.group_size=1", "rl.method.use=rloo"],
        ["rl.group_size: rloo needs several replies"],
    ),
    "ppo with an odd rollout": (
        None,
        ["rl.method.use=ppo", "rl.method.beta=0.05", "rl.group_size=1", "rl.prompts_per_step=7"],
        ["rl.prompts_per_step: a rollout of ppo", "must be even", "got     7"],
    ),
    "ppo without kl": (
        None,
        ["rl.method.use=ppo", "rl.method.beta=0"],
        ["rl.method.beta: ppo without a KL penalty collapses", "allow_no_kl"],
    ),
    "ppo with vllm": (
        None,
        ["rl.method.use=ppo", "rl.method.beta=0.05", "rl.use_vllm=true"],
        ["rl.use_vllm: ppo cannot"],
    ),
    "ppo that warms up for ever": (
        None,
        ["rl.method.use=ppo", "rl.method.beta=0.05", "rl.method.value_warmup_steps=20"],
        ["rl.method.value_warmup_steps: the policy would never learn", "rl.steps = 20"],
    ),
    "ppo with a loss type": (
        None,
        ["rl.method.use=ppo", "rl.method.beta=0.05", "rl.method.loss_type=grpo"],
        ["rl.method.loss_type: unknown key", "value_coefficient"],
    ),
    "self-training with kl": (
        None,
        ["rl.method.use=online_self_training", "rl.method.beta=0.1"],
        ["rl.method.beta: unknown key", "--set rl.method.beta"],
    ),
    "unknown key of ppo": (
        None,
        ["rl.method.use=ppo", "rl.method.lambda=0.9"],
        ["rl.method.lambda: unknown key", "'lam'"],
    ),
    "partial reward of one": (None, ["rl.partial=1.0"], ["rl.partial: wrong value", "< 1"]),
    "order is unknown": (None, ["rl.order=easy"], ["rl.order: wrong value", '"difficulty"']),
    "no steps": (None, ["rl.steps=0"], ["rl.steps: wrong value", ">= 1"]),
    "temperature is zero": (None, ["rl.temperature=0"], ["rl.temperature: wrong value", "> 0 and <= 2"]),
    "weight of the form above one": (None, ["rl.format_weight=2"], ["rl.format_weight: wrong value", "<= 1"]),
    "beta is negative": (None, ["rl.method.beta=-0.1"], ["rl.method.beta: wrong value", ">= 0"]),
    "algorithm is unknown": (
        None,
        ["rl.method.use=ppoo"],
        ["rl.method.use: no method of the slot rl", "grpo, gspo, offline_self_training", "did you mean 'ppo'"],
    ),
    "loss is unknown": (
        None,
        ["rl.method.loss_type=dapoo"],
        ["rl.method.loss_type: wrong value", "did you mean 'dapo'"],
    ),
    "warm-up longer than the run": (None, ["rl.warmup_steps=20"], ["rl.warmup_steps", "rl.steps = 20"]),
    "model is misspelt": (
        ('name = "embedded"', 'name = "embeded"'),
        [],
        ["model.name: wrong value", "hub id", "did you mean 'embedded'"],
    ),
    "model is a bare word": (None, ["model.name=gpt2"], ["model.name: wrong value", "owner/name"]),
    "model folder is missing": (
        None,
        ["model.name=./no/such/model"],
        ["no such model folder", "no/such/model", "config.json"],
    ),
    "revision of a folder": (None, ["model.revision=v2"], ["only a hub id has a revision", '"v2"']),
    "quantization is unknown": (None, ["model.quantization=nf5"], ["model.quantization", "did you mean 'nf4'"]),
    "4-bit weights trained in full": (
        None,
        ["model.quantization=nf4", "sft.adapter.use=full"],
        ["4-bit weights cannot be trained", "lora"],
    ),
    "attention is unknown": (
        None,
        ["model.attn=sdap"],
        ["model.attn: wrong value", "OWNER/NAME", "did you mean 'sdpa'"],
    ),
    "attention is half a kernel's name": (None, ["model.attn=kernels-community/"], ["model.attn: wrong value"]),
    "dtype is unknown": (None, ["model.dtype=bf16"], ["model.dtype: wrong value", '"bfloat16"']),
    "remote code is a word": (None, ["model.trust_remote_code=on"], ["model.trust_remote_code", "true or false"]),
    "eval is missing": (
        ("[demo.eval]", "[demo.evl]"),
        [],
        ["eval: the table is missing", "evl: unknown key", "did you mean 'eval'"],
    ),
    "no tasks": (None, ["eval.tasks=[]"], ["eval.tasks: wrong value", "length >= 1"]),
    "task does not exist": (
        None,
        ["eval.tasks=['demo_knowlege']"],
        ["no task 'demo_knowlege'", "did you mean 'demo_knowledge'"],
    ),
    "general task does not exist": (
        None,
        ["eval.general=['general_fact']"],
        ["eval.general: no task", "did you mean 'general_facts'"],
    ),
    "task is listed twice": (
        None,
        ["eval.tasks=['demo_knowledge', 'demo_knowledge']"],
        ["'demo_knowledge' is listed twice"],
    ),
    "task is in both lists": (
        None,
        ["eval.general=['demo_knowledge']"],
        ["eval.general: task 'demo_knowledge' is in tasks too"],
    ),
    "alpha is one": (None, ["eval.alpha=1.0"], ["eval.alpha: wrong value", "> 0 and < 1"]),
    "margin is zero": (None, ["eval.margin=0"], ["eval.margin: wrong value", "> 0 and < 1"]),
    "batch is negative too": (None, ["eval.batch_size=-1"], ["eval.batch_size: wrong value", ">= 1"]),
    "eval batch is zero": (None, ["eval.batch_size=0"], ["eval.batch_size: wrong value", ">= 1"]),
    "corpus is missing": (
        None,
        ["data.corpus=./no/such/corpus"],
        ["no such corpus", "./no/such/corpus", "correct the path"],
    ),
    "data number is text": (
        None,
        ["data.tests.knowledge='many'"],
        ["data.tests.knowledge: wrong value", "a whole number"],
    ),
    "profile is no table": (
        ('[demo.profiles.gpu.model]\nname = "Qwen/Qwen2.5-7B-Instruct"', "[demo.profiles]\ngpu = 3"),
        [],
        ["profiles.gpu: must be a table", "got     3"],
    ),
    "a table that --set alone brings about": (
        None,
        ["data.teachr.kind=openai"],
        ["data.teachr: unknown key", "where   --set data.teachr", "did you mean 'teacher'"],
    ),
    "infinite number in the data": (None, ["data.teacher.timeout=inf"], ["data.teacher.timeout: wrong value"]),
    "set without a value": (
        None,
        ["sft.rank"],
        ["--set does not say what to set", "got     sft.rank", "dotted.key=value"],
    ),
    "set without a key": (None, ["=3"], ["--set does not say what to set"]),
    "set of a profile": (None, ["profiles.gpu.model.name=x"], ["--set does not say what to set"]),
    "set with a secret": (None, ["data.api_key=sk-abcdef123456"], ["data.api_key: unknown key", "got     ***"]),
}


@pytest.fixture(autouse=True)
def tasks(monkeypatch, tmp_path):
    names = ("demo_knowledge", "demo_calculation", "general_facts")
    files = {name: tmp_path / "tasks" / f"{name}.yaml" for name in names}
    (tmp_path / "tasks").mkdir()
    for name, file in files.items():
        file.write_text(f"task: {name}\n", encoding="utf-8")
    monkeypatch.setattr(validate, "known_tasks", lambda: files)


def model_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x")
    return folder


def refused(tmp_path, text, sets=(), profile=None):
    file = tmp_path / "recipes.toml"
    file.write_text(text)
    with pytest.raises(RecipeError) as error:
        load(file, "demo", profile, sets)
    return error.value


def test_the_unbroken_one_is_accepted(tmp_path):
    file = tmp_path / "recipes.toml"
    file.write_text(GOOD)
    recipe = load(file, "demo", None, [f"model.name={model_folder(tmp_path)}"])
    assert recipe.settings("sft").learning_rate == 1e-4 and recipe.settings("rl").steps == 20


def test_ppo_with_one_reply_a_prompt_is_accepted(tmp_path):
    file = tmp_path / "recipes.toml"
    file.write_text(GOOD)
    sets = ["rl.method.use=ppo", "rl.method.beta=0.05", "rl.group_size=1", "rl.method.gamma=0.9", "rl.partial=0.1"]
    recipe = load(file, "demo", None, [f"model.name={model_folder(tmp_path)}", *sets])
    method = recipe.settings("rl").method
    assert method.gamma == 0.9 and method.lam == 0.95


def test_there_are_enough_broken_ones():
    assert len(BROKEN) >= 45


@pytest.mark.parametrize("case", BROKEN)
def test_broken(case, tmp_path):
    edit, sets, fragments = BROKEN[case]
    if edit:
        assert edit[0] in GOOD, "the case edits what is not there"
    text = str(refused(tmp_path, GOOD.replace(*edit, 1) if edit else GOOD, sets))
    assert all(fragment in text for fragment in fragments), text
    assert "sk-abcdef" not in text


@pytest.mark.parametrize(
    "text, fragments",
    [
        ("[demo]\nsummary = 'x'\nsummary = 'y'", ["not valid TOML", "line 3"]),
        ("[demo]\n[demo.sft]\nrank = 1\n[demo.sft]\nrank = 2", ["not valid TOML", "line 4"]),
        ("[demo]\nsummary = ", ["not valid TOML", "line 2"]),
        ("demo = 3", ["'demo' is not a recipe", "one table per recipe"]),
        ("[Demo]\n", ["'Demo' is not a recipe", "lower case"]),
        ("[dem]\n", ["no recipe 'demo'", "did you mean 'dem'"]),
        ("", ["no recipe 'demo'", "(the file is empty)"]),
    ],
)
def test_broken_files_name_the_line_or_the_table(text, fragments, tmp_path):
    error = str(refused(tmp_path, text))
    assert all(fragment in error for fragment in [*fragments, "recipes.toml"]), error


def test_a_missing_file_and_a_missing_profile_are_named(tmp_path):
    with pytest.raises(RecipeError, match="no such recipe file"):
        load(tmp_path / "none.toml", "demo")
    error = str(refused(tmp_path, GOOD, profile="gppu"))
    assert "no profile 'gppu'" in error and "did you mean 'gpu'" in error and "embedded, gpu" in error


def test_all_errors_come_at_once_each_with_its_place(tmp_path):
    text = (
        GOOD.replace("learning_rate", "learing_rate")
        .replace("steps = 20", "steps = 0")
        .replace('"demo_knowledge"', '"demo_knowlege"')
    )
    text = text.replace('name = "Qwen', 'dtype = "bf16"\nname = "Qwen')
    error = refused(tmp_path, text, ["model.name=embeded", "eval.alpha=7"])
    assert isinstance(error, ConfigErrors)
    assert [problem.what.split(":")[0] for problem in error.problems] == [
        "model.name",
        "sft.learing_rate",
        "rl.steps",
        "eval.alpha",
        "eval.tasks",
        "model.dtype",
    ]
    assert str(error).startswith("6 configuration errors")
    assert all(problem.where and problem.got for problem in error.problems)
    assert "[demo.profiles.gpu.model] model.dtype" in str(error.problems[-1])


def test_a_wrong_value_does_not_cause_errors_about_its_relations(tmp_path):
    error = refused(tmp_path, GOOD, ["rl.steps=0", "rl.warmup_steps=5"])
    assert [problem.what.split(":")[0] for problem in error.problems if "model" not in problem.what] == ["rl.steps"]


def test_a_needed_key_with_a_wrong_value_is_not_missing_too(tmp_path):
    error = refused(tmp_path, GOOD, [f"model.name={model_folder(tmp_path)}", "eval.tasks=x"])
    assert [problem.what for problem in error.problems] == ["eval.tasks: wrong value"]
