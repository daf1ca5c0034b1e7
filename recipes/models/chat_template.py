"""Chat templates as texts: those that TRL brings, how one is put into a tokenizer, and how conversations are rendered.

transformers renders a template in a sandbox, where it reaches no Python beside its own values.
"""

import re
from datetime import date
from functools import cache
from typing import Any

from recipes.base.errors import RecipeError
from recipes.config.schema import template_file, template_folder

TODAY = re.compile(r"strftime_now\(\s*['\"]([^'\"{}]*)['\"]\s*\)")
DAY = date(2026, 1, 1)


@cache
def read_known() -> dict[str, str]:
    """{name: text} of the templates that TRL brings."""
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(template_folder().glob("*.jinja"))}


def name_template(text: str) -> str:
    """The name that TRL has for a template, or "its own"."""
    return next((name for name, known in read_known().items() if known == text), "its own")


def read_template(reader: Any) -> str:
    """The template of a tokenizer or processor; of several the default one."""
    template = reader.chat_template
    return template.get("default", "") if isinstance(template, dict) else template or ""


def change_template(reader: Any, code: str) -> None:
    """Put template code in front of a reader's template."""
    reader.chat_template = code + read_template(reader)


def fix_date(reader: Any) -> bool:
    """Let a template that writes the day's date write one day, and say whether it does so. A prompt that changes
    overnight would not be the one that was learnt, and no reply to it could be kept."""
    formats = set(TODAY.findall(read_template(reader)))
    if formats:
        days = "".join(f"{{%- if form == '{form}' %}}{DAY.strftime(form)}{{% endif %}}" for form in sorted(formats))
        change_template(reader, f"{{%- macro strftime_now(form) %}}{days}{{%- endmacro %}}")
    return bool(formats)


def take_template(reader: Any, name: str) -> None:
    """Give a reader the template that a recipe names.

    Raises:
        RecipeError: TRL has none of that name, or the file cannot be read.
    """
    file = template_file(name)
    try:
        reader.chat_template = file.read_text(encoding="utf-8") if file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            "the chat template cannot be read", where="model.chat_template", got=f"{name}: {error}", allowed="a file"
        ) from error


def render_chat(reader: Any, turns: list[dict[str, Any]], name: str, **more: Any) -> str:
    """The text of chat turns by the chat template of a tokenizer or processor.

    Args:
        name: of the template or model, for the message.
        more: what else `apply_chat_template` takes.

    Raises:
        RecipeError: the template fails, refuses these turns, or reaches for what the sandbox keeps from it.
    """
    if hasattr(reader, "tokenizer"):  # a processor's template reads parts
        turns = [
            turn | {"content": [{"type": "text", "text": turn["content"]}]}
            if isinstance(turn["content"], str)
            else turn
            for turn in turns
        ]
    try:
        return reader.apply_chat_template(turns, tokenize=False, **more)
    except Exception as error:  # of any kind, for the template may do anything
        raise RecipeError(
            "the chat template of the model cannot be rendered",
            where="model.chat_template",
            got=f"{name}, turns {', '.join(turn['role'] for turn in turns)}: {type(error).__name__}: {error}",
            allowed="a template that writes system, user and assistant turns, and needs nothing but these",
            fix="set model.chat_template to a name that TRL knows or a file (docs/models.md), or choose another base",
        ) from error
