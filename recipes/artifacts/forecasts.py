"""What a stage will cost, before it is spent: from earlier runs of the same kind, else from a short pilot."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from recipes.artifacts.memory import Estimate
from recipes.artifacts.provenance import device
from recipes.artifacts.speed import Pace
from recipes.artifacts.store import manifests
from recipes.base.durations import format_duration, format_size
from recipes.base.errors import RecipeError


@dataclass(frozen=True)
class Work:
    """What a stage says it will do. `tokens` is what its metrics will count, `cost` the teacher's bill in dollars.

    Tokens of rows and replies that are not there yet are a guess, which the counts of earlier runs correct.
    """

    rows: int = 0
    steps: int = 0
    tokens: int = 0
    memory_bytes: int = 0
    cost: float = 0.0
    notes: str = ""


@dataclass(frozen=True)
class Forecast:
    """One line of the plan.

    `state` is `cached ab12cd34`, `new`, `rebuild: …` or what the stage waits for; `source` says where the rate is from.
    """

    stage: str
    state: str
    work: Work | None = None
    seconds: float | None = None
    memory_bytes: int | None = None
    source: str = ""
    gpu_bytes: int | None = None
    guessed_tokens: int = 0  # of the stage's own forecast
    misfit: str = ""  # what would not fit into the memory here, and what to set

    @property
    def predicted(self) -> dict[str, float | None] | None:
        """What the manifest keeps, to be set beside the actual figures; None where nothing could be said."""
        if self.seconds is None and not self.guessed_tokens:
            return None
        gpu = {"gpu_bytes": self.gpu_bytes} if self.gpu_bytes else {}
        tokens = {"guessed_tokens": self.guessed_tokens} if self.guessed_tokens else {}
        return {"seconds": self.seconds, "memory_bytes": self.memory_bytes, **gpu, **tokens}


def forecast(
    module: ModuleType,
    step: Any,
    counts: dict[str, Any],
    state: str,
    runs: Path,
    inputs: dict[str, Path] | None = None,
    runtime: Any = None,
) -> Forecast:
    """The `Forecast` of a step that has to run; `runs` is the folder of all results.

    `counts` are the row counts known so far, and under `models` the names of the models that it gets; the stage's own
    forecast may add to them. The rate (tokens per second) is the median of earlier uninterrupted runs of this stage
    with this model on this hardware; else, where `runtime` is given, that of the stage's pilot, which loads the model.
    The stage's own count of tokens is corrected by how far it was off in those runs, so that the same run again is
    foreseen to take the time that it took.
    """
    work = module.forecast(step.spec, counts, Path(runs))
    earlier = earlier_runs(Path(runs), step.step.kind, step.spec)
    rates = [m["metrics"]["tokens"] / m["seconds"] for m in earlier if m["metrics"].get("tokens") and m["seconds"] > 0]
    if rates:
        rate, source = median(rates), f"{len(rates)} earlier {'run' if len(rates) == 1 else 'runs'}"
    elif runtime is not None:
        rate, source = pilot(module, step.spec, inputs or {}, runtime)
    else:
        rate, source = None, "no earlier run"
    memory, gpu = (
        max((m[key] for m in earlier if m.get(key)), default=None) for key in ("peak_memory_bytes", "peak_gpu_bytes")
    )
    guessed = work.tokens
    if off := [counted / foreseen for foreseen, counted in map(read_tokens, earlier) if foreseen and counted]:
        work = replace(work, tokens=round(guessed * median(off)))
    seconds = work.tokens / rate if rate else None
    return Forecast(step.name, state, work, seconds, memory or work.memory_bytes or None, source, gpu, guessed)


def complete(line: Forecast, estimate: Estimate | None, pace: Pace | None, on_gpu: bool) -> Forecast:
    """A line without an earlier run with what arithmetic says of its time, and of its memory; what would not fit."""
    if line.seconds is None and pace is not None and line.work and estimate is not None:
        seconds = pace.guess_seconds(line.work.tokens, "activations" in estimate.parts)
        line = replace(line, seconds=seconds, source="a guess from arithmetic; --pilot measures")
    if estimate is None:
        return line
    if on_gpu and not line.gpu_bytes:
        line = replace(line, gpu_bytes=round(estimate.total))
    elif not on_gpu and not line.memory_bytes:
        line = replace(line, memory_bytes=round(estimate.total))
    return line if estimate.fits else replace(line, misfit=estimate.sentence)


def read_tokens(manifest: dict[str, Any]) -> tuple[int | None, int | None]:
    """(tokens that the stage's own forecast had for a run, tokens that its metrics counted)."""
    return (manifest.get("predicted") or {}).get("guessed_tokens"), manifest["metrics"].get("tokens")


def earlier_runs(runs: Path, kind: str, spec: Any) -> list[dict[str, Any]]:
    """Manifests of finished, uninterrupted runs of a stage with the same model (or builder) on the same hardware."""
    wanted = speed_key(spec.model_dump(mode="json"))
    homes = [home for home in runs.glob("*/*") if home.is_dir()]
    found = [manifest for home in homes for manifest in manifests(home, kind=kind)]
    return [
        m
        for m in found
        if speed_key(m["spec"]) == wanted
        and not m.get("resumed")
        and not m["metrics"].get("kept")  # an evaluation most of whose replies were there says nothing of speed
        and m.get("provenance", {}).get("device") == device()
    ]


def speed_key(spec: dict[str, Any]) -> list[Any]:
    """What decides how many tokens a second a stage makes: the model; the builder and whom it asks; the methods with
    their settings, but for weights and rates; and whether a reference model or vLLM is at work."""
    data = spec.get("data") or {}
    asked = [data.get(name) or {} for name in ("teacher", "judge", "repair", "quality")]
    own = {key: value for key, value in spec.items() if key not in ("model", "seed", "data")}
    return [
        spec.get("model"),
        spec.get("builder"),
        [[table.get(key) for key in ("kind", "model", "reasoner", "batch", "use_vllm")] for table in asked],
        sorted(_speed_parts(own)),
    ]


def _speed_parts(table: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _speed_parts(value, f"{prefix}{key}.")
        elif key == "use" or key in ("packing", "use_vllm", "experts", "top_k"):
            yield f"{prefix}{key}={value}"
        elif key == "beta":  # the reference model answers too
            yield f"{prefix}{key}={bool(value)}"


def pilot(module, spec, inputs, runtime):
    """(tokens per second, `pilot`), or (None, why not). A `RecipeError` is passed on: it would stop the stage too.

    A stage without a pilot is foreseen from earlier runs alone.
    """
    if not hasattr(module, "pilot"):
        return None, "no earlier run"
    try:
        return module.pilot(spec, inputs, runtime), "pilot"
    except RecipeError:
        raise
    except Exception as error:  # a forecast must never be what stops a run
        return None, f"no pilot: {type(error).__name__}: {error}"


def table(forecasts):
    """The plan as aligned text lines, one for each stage and a total."""
    rows = [("stage", "rows", "steps", "tokens", "time", "memory", "teacher", "state")]
    for f in forecasts:
        work = f.work or Work()
        rows.append(
            (
                f.stage,
                count(work.rows),
                count(work.steps),
                count(work.tokens),
                format_duration(f.seconds) if f.seconds is not None else "-",
                (format_size(f.memory_bytes) if f.memory_bytes else "-")
                + (f", GPU {format_size(f.gpu_bytes)}" if f.gpu_bytes else ""),
                f"${work.cost:.2f}" if work.cost else "-",
                f.state + (f" ({f.source})" if f.source else "") + (f" · {work.notes}" if work.notes else ""),
            )
        )
    known = [f.seconds for f in forecasts if f.seconds is not None]
    open_ = [f.stage for f in forecasts if f.work and f.seconds is None]
    total = format_duration(sum(known)) if known or not open_ else "-"
    bill = sum(f.work.cost for f in forecasts if f.work)
    rows.append(
        (
            "total",
            "",
            "",
            "",
            total,
            "",
            f"${bill:.2f}" if bill else "-",
            f"without {', '.join(open_)}" if open_ else "",
        )
    )
    widths = [max(len(row[column]) for row in rows) for column in range(7)]
    aligned = [
        [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:7], widths[1:])] + [row[7]]
        for row in rows
    ]
    misfits = [f"does not fit: {f.misfit}" for f in forecasts if f.misfit]
    return ["  ".join(cells).rstrip() for cells in aligned] + misfits


def count(number):
    """A count with thousands separators; `-` for none."""
    return f"{number:,}" if number else "-"
