"""The `[data.teacher]` table: who writes the records, at what price, how fast. Light: nothing is imported for it."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from data_builders.core.table import Count, DataTable, Need, extra
from recipes.base.table import runtime_field

BATCH = 50_000  # requests of one batch, by the limits of OpenAI
BUDGET = "budget of this table alone, stored replies included; a data set's other tables have their own; 0: none"
Price = Annotated[float, Field(ge=0)]


class Teacher(DataTable):
    """Who writes the records. What decides the records is `kind` and the models; all else may change on the way."""

    where: ClassVar = "data.teacher"  # its place in a recipe, for what is said of its budget

    kind: Literal["expert", "openai", "transformers"] = Field(
        default="expert",
        description="expert: rules and formulas, offline; openai: any OpenAI-compatible endpoint; "
        "transformers: a local model",
    )
    model: str = Field(
        default="", description="the endpoint's name of the model, or for transformers a folder or hub id"
    )
    reasoner: str = Field(default="", description="model of the answer agent, a reasoning model; empty: the same model")
    reasoning_tokens: int = Field(
        default=0,
        ge=0,
        description="tokens that a reasoning model may write beside each answer; what was cut is then asked for again",
    )
    base_url: str = runtime_field("", "of the endpoint, as in http://localhost:8000/v1; without key or password")
    api_key_env: str = runtime_field(
        "", "NAME of the environment variable that holds the key; empty: the endpoint needs none"
    )
    batch: bool = runtime_field(
        False, "ask through the provider's batch interface: cheaper, hours late; give its prices below"
    )
    use_vllm: bool = runtime_field(
        False, "a local model answers through vLLM where that imports, else through transformers"
    )
    concurrency: int = runtime_field(64, "most requests at once; for transformers, prompts per batch", ge=1, le=4096)
    concurrency_start: int = runtime_field(32, "requests at once to begin with, after the first one", ge=1)
    timeout: float = runtime_field(600.0, "seconds for one request in all", gt=0)
    patience: float = runtime_field(120.0, "seconds with nothing but failures until the endpoint counts as down", gt=0)
    max_reply_bytes: int = runtime_field(4 * 2**20, "a longer reply is cut off and not used", ge=1024)
    stop_after: Count = runtime_field(
        20, "questions of one agent that fail in one way, one after another, until the run stops; 0: never"
    )
    max_requests: Count = runtime_field(0, f"replies, {BUDGET}")
    max_tokens: Count = runtime_field(0, f"tokens in and out together, {BUDGET}")
    max_cost: Price = runtime_field(0.0, f"dollars, {BUDGET}")
    price_in: Price = runtime_field(0.0, "dollars per million tokens read")
    price_out: Price = runtime_field(0.0, "dollars per million tokens written")
    reasoner_price_in: Price = runtime_field(0.0, "the same of the reasoner, where that is another model")
    reasoner_price_out: Price = runtime_field(0.0, "the same of the reasoner, where that is another model")
    price_date: str = runtime_field("", "the day of the prices, YYYY-MM-DD")
    reply_tokens: int = runtime_field(1500, "tokens of one worked answer, for the bill of `plan`", ge=1)

    @property
    def needs(self):
        if self.kind == "openai":
            return [Need("openai", extra("teacher"), "asks an endpoint through it")]
        if self.kind == "expert":
            return []
        held = Need("llguidance", extra("teacher"), "holds the replies of a local model to their form with it")
        slower = Need("vllm", extra("vllm"), "then asks through transformers, which is slower", must=False)
        return [held, slower] if self.use_vllm else [held]

    @property
    def at_once(self):
        """Requests that may be out together: at first, and at most."""
        return (BATCH, BATCH) if self.batch else (self.concurrency_start, self.concurrency)

    def prices(self, model):
        """Dollars per million tokens that a model reads and writes."""
        if self.reasoner not in ("", self.model) and model == self.reasoner:
            return self.reasoner_price_in, self.reasoner_price_out
        return self.price_in, self.price_out

    @model_validator(mode="after")
    def _fits_together(self):
        if self.kind == "expert":
            if self.model or self.base_url:
                raise ValueError('the expert has no model; set teacher.kind to "openai" or "transformers"')
            return self
        if not self.model:
            raise ValueError(f'teacher.model is missing for kind "{self.kind}"')
        if self.batch and self.kind != "openai":
            raise ValueError("teacher.batch is an interface of endpoints, for kind openai")
        if self.use_vllm and self.kind != "transformers":
            raise ValueError("teacher.use_vllm is for a local model, kind transformers; a vLLM server is kind openai")
        if self.kind == "transformers" and (self.reasoner or self.base_url):
            raise ValueError("one local model answers everything: leave out teacher.reasoner and teacher.base_url")
        if self.kind == "openai" and not re.fullmatch(r"https?://[^\s@?#]+", self.base_url):
            raise ValueError(
                "teacher.base_url must be http(s)://HOST[:PORT]/PATH without password, ? and #; the key goes into the "
                "environment variable named by teacher.api_key_env"
            )
        if self.api_key_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            raise ValueError("teacher.api_key_env is the NAME of an environment variable, not a key")
        if self.api_key_env and re.match(r"(sk|pk|hf|gsk)[-_]", self.api_key_env):
            raise ValueError("teacher.api_key_env looks like a key itself; give the NAME of an environment variable")
        priced = bool(self.price_in or self.price_out)
        reasoner_priced = bool(self.reasoner_price_in or self.reasoner_price_out)
        if reasoner_priced and self.reasoner in ("", self.model):
            raise ValueError("teacher.reasoner_price_in and _out are for a teacher.reasoner that is another model")
        if priced and not reasoner_priced and self.reasoner not in ("", self.model):
            raise ValueError(
                f"teacher.reasoner is another model than {self.model!r}: it needs teacher.reasoner_price_in and "
                "teacher.reasoner_price_out"
            )
        if (priced or reasoner_priced) and not re.fullmatch(r"\d{4}-\d\d-\d\d", self.price_date):
            raise ValueError("teacher.price_date must say of which day the prices are, as YYYY-MM-DD")
        if self.max_cost and not (priced or reasoner_priced):
            raise ValueError("teacher.max_cost needs teacher.price_in and teacher.price_out")
        return self
