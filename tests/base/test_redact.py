"""Keys, tokens and passwords are masked wherever they stand; words that only begin like one are left alone."""

import random
import string

import pytest

from recipes.base.redact import mask, mask_argv
from recipes.base.runtime import Runtime

LETTERS, ALPHANUMERIC = string.ascii_letters, string.ascii_letters + string.digits


def draw(alphabet: str, length: int) -> str:
    return "".join(random.Random(f"{alphabet} {length}").choices(alphabet, k=length))


KEYS = {
    "OpenAI, user": "sk-" + draw(ALPHANUMERIC, 48),
    "OpenAI, project": "sk-proj-" + draw(ALPHANUMERIC + "_-", 156),
    "OpenAI, service account": "sk-svcacct-" + draw(ALPHANUMERIC + "_-", 120),
    "Anthropic": "sk-ant-api03-" + draw(ALPHANUMERIC + "_-", 93) + "AA",
    "OpenRouter": "sk-or-v1-" + draw("0123456789abcdef", 64),
    "DeepSeek": "sk-" + draw("0123456789abcdef", 32),
    "Stripe, secret": "sk_live_" + draw(ALPHANUMERIC, 24),
    "Stripe, restricted": "rk_live_" + draw(ALPHANUMERIC, 24),
    "Langfuse": "pk-lf-01234567-89ab-cdef-0123-456789abcdef",
    "short one of a local server": "sk-abcdefgh12345",
    "Hugging Face": "hf_" + draw(ALPHANUMERIC, 34),
    "Hugging Face, letters alone": "hf_" + draw(LETTERS, 34),
    "GitHub, personal": "ghp_" + draw(ALPHANUMERIC, 36),
    "GitHub, OAuth": "gho_" + draw(ALPHANUMERIC, 36),
    "GitHub, user to server": "ghu_" + draw(ALPHANUMERIC, 36),
    "GitHub, server": "ghs_" + draw(ALPHANUMERIC, 36),
    "GitHub, fine-grained": "github_pat_" + draw(ALPHANUMERIC, 22) + "_" + draw(ALPHANUMERIC, 59),
    "GitLab": "glpat-" + draw(ALPHANUMERIC + "_-", 20),
    "Slack, bot": "xoxb-176536724811-1987469832345-" + draw(ALPHANUMERIC, 24),
    "AWS": "AKIA" + draw(string.ascii_uppercase + string.digits, 16),
    "Google": "AIza" + draw(ALPHANUMERIC + "_-", 35),
    "JSON web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
}
WORDS = [
    "hf_multimodal",
    "hf-multimodal",
    "sk-learnability",
    "sk_learn_compatibility",
    "sk-learn-1.5.2-experiment",
    "sk-2024-10-31-second-run",
    "pk-pharmacokinetics",
    "pk_pharmacokinetic_modelling_of_two_compartments",
    "rk-integration-of-fourth-order",
    "rk_runge_kutta_4_5_adaptive",
    "hf_llama_3_8b_instruct_4bit",
    "hf_transformers_5_23_0",
    "hf-internal-testing/tiny-random-gpt2",
    "ghost-protocol",
    "task-learnability",
    "risk-assessment-2024",
    "disk-usage-of-checkpoints",
    "a bearer instrument",
    "Bearer certificates of deposit",
    "eyJafjallajokull",
]


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("form", ["{}", "the server said: {} is unknown", '{{"key": "{}"}}', "Bearer {}", "a={}&b=1"])
def test_a_key_is_masked_wherever_it_stands(name, form):
    key = KEYS[name]
    masked = mask(form.format(key))
    assert masked == form.format("***")


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_begins_like_a_key_is_left_alone(word):
    assert mask(word) == word and mask(f"model {word} of 2024") == f"model {word} of 2024"


@pytest.mark.parametrize(
    "value, key, expected",
    [
        ("plain text", "", "plain text"),
        ("Bearer abcdefghij0", "", "Bearer ***"),
        ("Bearer abcdefghijklmnopqrst", "", "Bearer ***"),
        ("https://me:pass@host/x", "", "https://***@host/x"),
        ("anything", "api_key", "***"),
        ("anything", "teacher.access_token", "***"),
        ("data.teacher.api_key=hush", "", "data.teacher.api_key=***"),
        ("--password=hush", "", "--password=***"),
        ("OPENAI_API_KEY", "api_key_env", "OPENAI_API_KEY"),
        ({"password": "x", "deep": [{"token": "y"}]}, "", {"password": "***", "deep": [{"token": "***"}]}),
        (4096, "batch_tokens", 4096),
        ("4096", "max_new_tokens", "4096"),
        ("sft.batch_tokens=4096", "", "sft.batch_tokens=4096"),
        ("", "token", ""),
    ],
)
def test_what_stands_under_the_name_of_a_secret_is_masked_and_nothing_else(value, key, expected):
    assert mask(value, key) == expected


def test_the_content_of_a_secret_variable_is_masked_wherever_it_stands(monkeypatch, capsys):
    monkeypatch.setenv("SOME_SECRET_KEY", "rosebud-1941")
    Runtime().say("the server said: rosebud-1941 is unknown")
    assert capsys.readouterr().out == "the server said: *** is unknown\n"


def test_command_lines_are_masked_by_the_word_before():
    assert mask_argv(["run", "--token", "abc", "--set", "a.secret=b", "c"]) == [
        "run",
        "--token",
        "***",
        "--set",
        "a.secret=***",
        "c",
    ]
