"""A local model as teacher through vLLM's offline engine; JSON replies are held to their schema by the engine."""

import hashlib
import time

from data_builders.llm.chat import Raw
from data_builders.llm.endpoint import Rejected
from data_builders.llm.local import Gathering
from recipes.base.errors import RecipeError


class Offline(Gathering):
    """`table.model` is a folder or hub id. Raises RecipeError where the engine cannot load it."""

    def __init__(self, table):
        import vllm  # pyright: ignore[reportMissingImports]  an extra, not of the tests
        from vllm.sampling_params import StructuredOutputsParams  # pyright: ignore[reportMissingImports]

        super().__init__(table.concurrency)
        self.sampling, self.held = vllm.SamplingParams, StructuredOutputsParams
        try:
            self.engine = vllm.LLM(model=table.model, max_num_seqs=table.concurrency)
        except (OSError, ValueError, RuntimeError) as error:
            raise RecipeError(
                "vLLM cannot load the local teacher's model.",
                where="data.teacher.model",
                got=(str(error).splitlines() or [type(error).__name__])[0],
                allowed="a model that vLLM knows and that fits this machine",
                fix="correct the name, or leave out data.teacher.use_vllm",
            ) from None
        self.tokenizer = self.engine.get_tokenizer()
        self.window = self.engine.llm_engine.model_config.max_model_len

    def generate(self, chats):
        """A reply or an error for each chat. A question beyond the window fails alone."""
        started = time.monotonic()
        texts = [
            self.tokenizer.apply_chat_template(c.messages, tokenize=False, add_generation_prompt=True) for c in chats
        ]
        ids = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        replies: list[Raw | Rejected] = [
            Rejected(f"the question has {len(i)} tokens, the model's window {self.window}") for i in ids
        ]
        fit = [place for place, prompt in enumerate(ids) if len(prompt) < self.window]
        if not fit:
            return replies
        prompts = [{"prompt_token_ids": ids[place]} for place in fit]
        settings = [self._settings(chats[place], self.window - len(ids[place])) for place in fit]
        written = self.engine.generate(prompts, settings, use_tqdm=False)
        seconds = round(time.monotonic() - started, 3)
        for place, found in zip(fit, written, strict=True):
            reply = found.outputs[0]
            finish = "length" if reply.finish_reason == "length" else "stop"
            replies[place] = Raw(reply.text, finish, len(ids[place]), len(reply.token_ids), seconds)
        return replies

    def _settings(self, chat, room):
        """Nothing but the question's own sampling, whatever the model's settings say; its key is the seed."""
        held = self.held(json=chat.json_schema) if chat.schema else None
        return self.sampling(
            temperature=chat.temperature,
            top_p=chat.top_p,
            max_tokens=min(chat.limit, room),
            seed=int(hashlib.sha256(chat.key.encode()).hexdigest()[:8], 16),
            structured_outputs=held,
        )
