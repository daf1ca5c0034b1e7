"""Replies on disk, kept for each task, model and way of answering, so that nothing is asked twice.

<folder of all results>/replies/<model fp8>/<task>-<key8>.jsonl

The first line says what the key is made of; each further line is a chunk of replies, written whole.
"""

import json
import os
from pathlib import Path
from typing import Any

from recipes.base.hashing import fingerprint
from recipes.base.jsonl import encode_json

KEY = 8  # hex digits of a fingerprint in names


class ReplyStore:
    """The replies of one model; `model` says what the model is, in JSON's own types."""

    def __init__(self, folder: Path, model: Any):
        self.model = model
        self.folder = folder / "replies" / fingerprint(model)[:KEY]

    def open(self, task: str, about: Any) -> "KeptReplies":
        """What is kept of one task; `about` is all that decides the replies beside the model."""
        key = fingerprint([self.model, task, about])
        return KeptReplies(self.folder / f"{task}-{key[:KEY]}.jsonl", key)

    def find_measures(self, probe: str, about: Any) -> tuple[Path, dict[str, Any] | None]:
        """(file of what a probe measured, its content or None)."""
        key = fingerprint([self.model, probe, about])
        file = self.folder / f"probe-{probe}-{key[:KEY]}.json"
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return file, None
        return file, found["values"] if found.get("key") == key else None

    def keep_measures(self, probe: str, about: Any, values: dict[str, Any]) -> None:
        """Write what a probe measured."""
        file, _ = self.find_measures(probe, about)
        self.folder.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.{os.getpid()}")
        key = fingerprint([self.model, probe, about])
        part.write_text(json.dumps({"key": key, "values": values}, indent=1) + "\n", encoding="utf-8")
        part.replace(file)


class KeptReplies:
    """The replies to one task in the order in which they are asked; `values` are those that are there.

    A line that a kill cut off is passed over, and so is a chunk that a second process wrote too.
    """

    def __init__(self, file: Path, key: str):
        self.file, self.key = file, key
        self.values: list[Any] = []
        lines = file.read_bytes().split(b"\n") if file.is_file() else []
        self._ends_whole = not lines or not lines[-1]
        self._has_head = False
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if "key" in entry:
                self._has_head = entry["key"] == key
            elif self._has_head and entry["start"] == len(self.values):
                self.values += entry["replies"]

    def append(self, replies: list[Any]) -> None:
        """Write one chunk behind those that are there."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = "" if self._ends_whole else "\n"
        if not self._has_head:
            text += encode_json({"key": self.key}) + "\n"
        text += encode_json({"start": len(self.values), "replies": replies}) + "\n"
        with open(self.file, "a", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        self._ends_whole = self._has_head = True
        self.values += replies
