"""Nothing that looks like a key, token or password reaches a manifest, a log or an error text."""

import os
import re
from collections.abc import Iterable
from typing import Any

MASK = "***"
NAMES = re.compile(
    r"(?i)(^|[._-])((api|access|secret)[_-]?key|secret|token|auth|authorization|password|passwd|credentials?)$"
)
# Names of packages and files begin like keys too (sk-learn, hf_multimodal): behind such a beginning a key is told by an
# unbroken run of letters and digits, 20 of them, or 12 with both kinds.
RUN = r"[A-Za-z0-9]{20}|(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{12}"
VALUES = re.compile(
    rf"\b((sk|pk|rk)[_-]|(hf|gh[opsur])_)(?=[\w-]*?({RUN}))[\w-]+"
    r"|\bglpat-[\w-]{20,}|\bxox[abeprs]-[\w-]{16,}|\bgithub_pat_\w{20,}|\bAKIA[A-Z0-9]{12,}|\bAIza[\w-]{20,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|(?<=[Bb]earer )(?=\S*\d|\S{20})\S{8,}"  # a word may follow "bearer" too
    r"|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"
)


def mask(value: Any, key: str = "") -> Any:
    """`value` (any JSON shape) with secrets replaced.

    These are: everything under a key named like one (`key` is the dotted key of `value` itself), the value in texts
    such as `--flag=value` and `dotted.key=value`, text that looks like a secret, and text that stands in an environment
    variable named like one.
    """
    if isinstance(value, dict):
        return {k: mask(v, k) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask(item, key) for item in value]
    if not isinstance(value, str):
        return value
    if NAMES.search(key) and value:
        return MASK
    name, equals, _ = value.partition("=")
    if equals and NAMES.search(name.strip()):
        return f"{name}={MASK}"
    for variable, content in os.environ.items():
        if len(content) >= 8 and content in value and NAMES.search(variable):
            value = value.replace(content, MASK)
    return VALUES.sub(MASK, value)


def mask_argv(argv: Iterable[str]) -> list[str]:
    """A command line without secrets; also those given as the word after `--token`, say."""
    words, secret = [], False
    for word in argv:
        words.append(MASK if secret else mask(word))
        secret = word.startswith("-") and "=" not in word and bool(NAMES.search(word))
    return words
