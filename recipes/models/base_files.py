"""By its files a base is known: what stands beside an adapter, and refuses it on another base."""

import json
from pathlib import Path

from recipes.base.errors import RecipeError
from recipes.base.hashing import fingerprint, sample_digest
from recipes.config.schema import Model, model_folder

NOTE = "base.json"  # in the folder of an adapter: which base it is for


def find_files(model: Model) -> Path | None:
    """The folder in which a base's files lie: its own, or of a hub id the snapshot in the local cache; None where it
    has none."""
    folder = model_folder(model.name)
    if folder is None:
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(model.name, "config.json", revision=model.revision)
        folder = Path(config).parent if isinstance(config, str) else None
    return folder if folder is not None and folder.is_dir() else None


def digest_base(model: Model) -> str | None:
    """What identifies the weights of a base: a digest over its files, the same in a folder and in the hub's cache; None
    where they are not at hand."""
    folder = find_files(model)
    files = sorted(folder.glob("*")) if folder else []
    files = [path for path in files if path.suffix == ".safetensors" or path.name == "config.json"]
    return fingerprint({path.name: sample_digest(path) for path in files}) if files else None


def note_base(model: Model, adapter: Path) -> None:
    """Write beside an adapter which base it is for: the digest of its files, and of a hub id what it is called."""
    named = {"name": model.name, "revision": model.revision} if model_folder(model.name) is None else {}
    note = named | {"files": digest_base(model)}
    (adapter / NOTE).write_text(json.dumps(note) + "\n", encoding="utf-8")


def check_base(model: Model, adapter: Path) -> None:
    """Raises RecipeError where an adapter was trained on another base, or on one that was overwritten since."""
    file = adapter / NOTE
    if not file.is_file():
        return
    note, now = json.loads(file.read_text(encoding="utf-8")), digest_base(model)
    trained = note.get("files")
    if trained and now and trained != now:
        raise RecipeError(
            "the adapter was trained on another base",
            where=adapter,
            got=f"{model.name} with files {now[:12]}",
            allowed=f"{note.get('name', 'the base')} with files {trained[:12]}, as when the adapter was trained",
            fix="put that base back, or run the recipe again: its steps are made anew for the base that is there now",
        )
