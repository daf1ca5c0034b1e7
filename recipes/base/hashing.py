"""What a thing is, as a hash: values through strict JSON, files through their bytes."""

import fnmatch
import hashlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError
from recipes.base.jsonl import encode_json

SAMPLED = 16 * 2**20  # bytes; of a larger file `sample_digest` reads the ends and so many pieces between
PIECES, PIECE = 128, 64 * 2**10
LARGE = 64 * 2**20  # bytes; the digest of a larger file is remembered by inode, size and time of change


def canonical(value: object, where: str = "value") -> str:
    """`value` as JSON text, the same for the same value. Raises `RecipeError` for anything but JSON's own types."""
    check_json(value, where)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def check_json(value: object, where: str) -> None:
    """Refuse what has no one JSON form: paths, sets, dates, NaN, keys that are not strings …"""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise RecipeError("only string keys can be hashed", where=where, got=repr(key))
            check_json(item, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            check_json(item, f"{where}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise RecipeError("only finite numbers can be hashed", where=where, got=value)
    elif type(value) not in (str, int, float, bool, type(None)):
        raise RecipeError(
            "this kind of value cannot be hashed",
            where=where,
            got=f"{type(value).__name__} {value!r}",
            allowed="string, number, true/false, null, list, table",
        )


def fingerprint(value: object) -> str:
    """SHA-256 (hex, 64 digits) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def stable_id(*parts: Any) -> str:
    """Sixteen hex digits that depend on the parts alone (any JSON), the same on every machine and in every run."""
    return hashlib.sha256(encode_json(parts).encode()).hexdigest()[:16]


def files_under(folder: str | Path, patterns: Iterable[str] = ("*",)) -> dict[str, Path]:
    """{path relative to `folder`: Path} of its files, sorted, hidden ones and `__pycache__` left out.

    `patterns` are shell patterns in which `*` also matches `/`. A `folder` that is a file stands for itself.
    """
    folder = Path(folder)
    if folder.is_file():
        return {folder.name: folder}
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
        if (
            not hidden
            and path.is_file()
            and any(fnmatch.fnmatchcase(relative.as_posix(), pattern) for pattern in patterns)
        ):
            found[relative.as_posix()] = path
    return found


def sample_digest(file: Path) -> str:
    """A quick digest of a file: its size and all its bytes, or of a large file its first and last MiB and 128 pieces of
    64 KiB at even distances, so that weights of which one layer in a hundred was changed are other weights.

    Raises:
        OSError: the file cannot be read.
    """
    size, found = os.stat(file).st_size, hashlib.sha256()
    with open(file, "rb") as stream:
        if size <= SAMPLED:
            found.update(stream.read())
        else:
            found.update(stream.read(2**20))
            for number in range(PIECES):
                stream.seek(2**20 + number * (size - 2**21 - PIECE) // (PIECES - 1))
                found.update(stream.read(PIECE))
            stream.seek(-(2**20), os.SEEK_END)
            found.update(stream.read())
    return f"{size}:{found.hexdigest()[:32]}"


class Digests:
    """SHA-256 of files. Small files are read every time; large ones are remembered in the file `memory`."""

    def __init__(self, memory: str | Path) -> None:
        self.memory = Path(memory)
        try:
            self.known = json.loads(self.memory.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.known = {}  # only a memory of work done: without it the files are read again

    def of(self, file: str | Path) -> str:
        """SHA-256 (hex) of one file's bytes."""
        stat = os.stat(file)
        key = f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"  # survives the rename that ends a stage
        if stat.st_size <= LARGE or key not in self.known:
            with open(file, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if stat.st_size <= LARGE:
                return digest
            self.known[key] = digest
            self._remember()
        return self.known[key]

    def tree(self, folder: str | Path, patterns: Iterable[str] = ("*",)) -> dict[str, str]:
        """{relative path: SHA-256} of the files that `files_under` finds."""
        return {name: self.of(path) for name, path in files_under(folder, patterns).items()}

    def _remember(self) -> None:
        self.memory.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.memory.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(self.known), encoding="utf-8")
        temporary.replace(self.memory)
