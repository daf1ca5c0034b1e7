"""Results on disk: `<stage>-<fp8>/` with a manifest that was written last, so that a folder by that name is whole.

While a stage writes, its folder is called `<stage>-<fp8>.partial/`; it outlives a kill and the stage goes on in it.
"""

import errno
import fcntl
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from recipes.base.errors import RecipeError
from recipes.base.hashing import files_under, fingerprint
from recipes.base.redact import mask
from recipes.base.toml import short_float

SCHEMA = 1
MANIFEST = "manifest.json"
LATEST = "latest.json"


@dataclass(frozen=True)
class Key:
    """What a stage's result is. `spec` is the whole resolved spec; its dotted keys in `how` are not part of that.

    A manifest keeps `how` beside the spec. One that was written before it did says of no key that it does not matter:
    runs that differ in such a key are then not pooled, and `diff` names the key.

    `kind` is the stage that carries the step out; `stage` the name of the step.
    `inputs` maps a name to {"stage" or "path": where it lies, "digest": one value, "files": {relative path: SHA-256}}.
    """

    stage: str
    version: int
    spec: dict
    inputs: dict
    how: frozenset = field(default_factory=frozenset)
    kind: str = ""

    @property
    def fingerprint(self):
        """SHA-256 (hex) of stage, version, identity part of the spec, and the inputs' digests."""
        spec = [[key, value] for key, value in sorted(flat(self.spec).items()) if key not in self.how]
        digests = {name: entry["digest"] for name, entry in self.inputs.items()}
        return fingerprint(
            {
                "schema": SCHEMA,
                "stage": self.kind or self.stage,
                "version": self.version,
                "spec": spec,
                "inputs": digests,
            }
        )

    @property
    def folder(self):
        """Name of the artefact's folder."""
        return f"{self.stage}-{self.fingerprint[:8]}"

    def described(self):
        """The part of a manifest that says what the result is."""
        return {
            "schema": SCHEMA,
            "stage": self.stage,
            "kind": self.kind or self.stage,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "spec": self.spec,
            "how": sorted(self.how),
            "inputs": self.inputs,
        }

    def differences(self, manifest):
        """What makes this key another one than that of `manifest`, one short text each."""
        found = []
        if manifest["version"] != self.version:
            found.append(f"stage version {manifest['version']} -> {self.version}")
        old, new = flat(manifest["spec"]), flat(self.spec)
        for key in sorted(old.keys() | new.keys()):
            if key not in self.how and old.get(key) != new.get(key):
                found.append(f"{key} {shown(old.get(key))} -> {shown(new.get(key))}")
        for name in sorted(manifest["inputs"].keys() | self.inputs.keys()):
            found += input_differences(name, manifest["inputs"].get(name), self.inputs.get(name))
        return found


def input_differences(name, old, new):
    """How one input changed between two manifests: texts such as `data/sft.jsonl changed`; none if it did not."""
    if old is None or new is None:
        return [f"input {name} {'is new' if old is None else 'is gone'}"]
    if old["digest"] == new["digest"]:
        return []
    before, after = old.get("files", {}), new.get("files", {})
    if not before or not after:
        return [f"{name} {old['digest']} -> {new['digest']}"]
    names = [n for n in sorted(before.keys() | after.keys()) if before.get(n) != after.get(n)]
    verb = {n: "removed" if n not in after else "added" if n not in before else "changed" for n in names}
    return [f"{name}/{n} {verb[n]}" for n in names]


def flat(table, prefix=""):
    """A nested table as {dotted key: value}; empty tables leave no trace."""
    items = {}
    for key, value in table.items():
        items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return items


def shown(value):
    """A spec value in a reason: short, secrets left out."""
    text = "(unset)" if value is None else short_float(value) if isinstance(value, float) else str(mask(value))
    return text if len(text) <= 60 else text[:57] + "..."


# --- manifests --------------------------------------------------------------------------------------------------------


def read_manifest(folder):
    """The manifest of an artefact. Raises `RecipeError` where it is missing, damaged or of another schema."""
    file = Path(folder) / MANIFEST
    way_on = "delete that folder, or build again with --fresh (the old one stays until the new one is done)"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError("the artefact has no manifest", where=file, fix=way_on) from None
    except (OSError, ValueError) as error:
        raise RecipeError("the manifest is damaged", where=file, got=error, fix=way_on) from None
    needed = {"stage", "version", "fingerprint", "spec", "inputs", "outputs"}
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA or not needed <= manifest.keys():
        got = f"schema {manifest.get('schema')}" if isinstance(manifest, dict) else type(manifest).__name__
        raise RecipeError(
            "the manifest is of another kind", where=file, got=got, allowed=f"schema {SCHEMA}", fix=way_on
        )
    return manifest


def manifests(home, stage="*", kind=None):
    """Readable manifests of a step under `home`, or of all steps of a kind, oldest first; damaged ones are
    passed over."""
    found = []
    for folder in Path(home).glob(f"{stage}-????????"):
        try:
            manifest = read_manifest(folder)
        except RecipeError:
            continue
        if kind is None or manifest.get("kind", manifest["stage"]) == kind:
            found.append(manifest)
    return sorted(found, key=lambda manifest: manifest.get("provenance", {}).get("finished", ""))


def find(home, key, digests):
    """The finished artefact of `key` under `home`, its files verified; None where there is none yet.

    Raises `RecipeError` naming the file when one was changed, damaged or removed since it was written.
    """
    folder = Path(home) / key.folder
    if not folder.is_dir():
        return None
    manifest = read_manifest(folder)
    verify(folder, manifest, digests)
    if manifest["fingerprint"] != key.fingerprint:
        raise RecipeError(
            "the manifest is not the one of this folder",
            where=folder / MANIFEST,
            got=manifest["fingerprint"],
            allowed=key.fingerprint,
            fix="delete that folder, or build again with --fresh",
        )
    return folder


def verify(folder, manifest, digests):
    """Check every output against its SHA-256 in the manifest. Raises `RecipeError` with the first files that differ."""
    wrong = []
    for name, expected in manifest["outputs"].items():
        path = Path(folder) / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif (digest := digests.of(path)) != expected:
            wrong.append(f"{name} has sha256 {digest[:12]}…, written as {expected[:12]}…")
    if wrong:
        raise RecipeError(
            "an artefact is not what was written: edited by hand, or damaged",
            where=folder,
            got="; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""),
            fix="to keep your edit, copy the file elsewhere; then delete that folder, or build again with --fresh",
        )


def why(home, key):
    """Why `key` has no artefact: `rebuild: …` against the nearest one there is, or `new`."""
    options = [key.differences(manifest) for manifest in reversed(manifests(home, key.stage))]
    if not options:
        return "new"
    reasons = min(options, key=len) or ["the artefact was removed"]
    return "rebuild: " + ", ".join(reasons[:4]) + (f", and {len(reasons) - 4} more" if len(reasons) > 4 else "")


def publish(out, final):
    """Give a whole folder its final name. An artefact that stood there goes once the new one is in its place."""
    old = final.with_name(final.name + ".old")
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
    out.rename(final)
    sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def write_json(file, value):
    """Write JSON without secrets, so that the file holds the old or the new text whatever happens in between."""
    temporary = file.with_name(f".{file.name}.tmp")
    with open(temporary, "w", encoding="utf-8") as stream:
        json.dump(mask(value), stream, indent=1, ensure_ascii=False, allow_nan=False)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
    sync(file.parent)


def sync(folder):
    """Make renames in `folder` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def outputs(out, digests):
    """{relative path: SHA-256} of what a stage left in `out`. Raises `RecipeError` where it left nothing."""
    found = {name: digests.of(path) for name, path in files_under(out).items() if name != MANIFEST}
    if not found:
        raise RecipeError("the stage wrote nothing", where=out)
    return found


def write_latest(home, done):
    """Note the newest result of every step: {step: artefact folder}."""
    write_json(Path(home) / LATEST, {step: folder.name for step, folder in done.items()})


def latest(home):
    """{stage: artefact folder} of the last finished run under `home` (runs/<recipe>/<profile>); {} before the first."""
    try:
        names = json.loads((Path(home) / LATEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {stage: Path(home) / name for stage, name in names.items() if (Path(home) / name / MANIFEST).is_file()}


# --- the place they are written in ------------------------------------------------------------------------------------


@contextmanager
def lock(home):
    """Hold `home` against a second writer. Raises `RecipeError` naming the process that has it."""
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.seek(0)
            raise RecipeError(
                "another run is writing here",
                where=home,
                got=stream.read().strip() or "(unknown process)",
                fix="wait for it to end, or give this one another --runs folder",
            ) from None
        stream.truncate(0)
        stream.write(f"process {os.getpid()} since {now()}")
        stream.flush()
        yield


def disk_full(error):
    """Whether an exception, or one that it came from, says that the disk (or the quota) is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error) or "Disk quota exceeded" in str(error):
            return True  # libraries that write from C++ or Rust raise their own types
        error = error.__cause__ or error.__context__
    return False


def now():
    """The time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
