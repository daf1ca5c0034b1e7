"""`diff`: what made two runs different, which rows of their data are, and whether their scores are."""

from pathlib import Path

from recipes.artifacts.store import MANIFEST, Key, latest, read_manifest
from recipes.base.errors import RecipeError
from recipes.config.schema import DEFAULT_PROFILE


def diff(a, b, runs):
    """The comparison of two runs as text. Each is RECIPE or RECIPE/PROFILE (its newest run), or an artefact folder."""
    left, right = artefacts(a, runs), artefacts(b, runs)
    shared = [stage for stage in left if stage in right]
    if not shared:
        raise RecipeError("the two have no stage in common", got=f"{', '.join(left)} and {', '.join(right)}")
    lines = []
    for stage in shared:
        before, after = read_manifest(left[stage]), read_manifest(right[stage])
        key = Key(stage, after["version"], after["spec"], after["inputs"], frozenset(after.get("how", ())))
        changes = [] if before["fingerprint"] == after["fingerprint"] else key.differences(before)
        lines.append(f"{stage}: {left[stage].name} -> {right[stage].name}" + ("" if changes else ": same"))
        lines += [f"  {change}" for change in changes]
    if "data" in shared and left["data"] != right["data"]:
        lines += rows(left["data"], right["data"], whole=shared == ["data"])
    if "evaluate" in shared and left["evaluate"] != right["evaluate"]:
        lines += ["", *scores(left["evaluate"], right["evaluate"])]
    return "\n".join(lines)


def artefacts(text, runs):
    """{stage: folder} of what a person named. Raises `RecipeError` where there is nothing by that name."""
    folder = Path(text)
    if (folder / MANIFEST).exists():
        return {read_manifest(folder)["stage"]: folder}
    for home in (folder, runs / text, runs / text / DEFAULT_PROFILE):
        if latest(home):
            return latest(home)
    known = sorted(str(home.relative_to(runs)) for home in runs.glob("*/*") if latest(home))
    raise RecipeError(f"no run {text!r}", where=runs, allowed=", ".join([*known, "the folder of an artefact"]))


def rows(a, b, whole):
    """Rows of two data artefacts that were added, removed and changed; only the totals unless `whole`."""
    from recipes.report.data_diff import as_text, compare_data

    lines = as_text(compare_data(a, b))
    return lines if whole else lines[: lines.index("", 1)] if "" in lines[1:] else lines


def scores(a, b):
    """Paired tests of two evaluate artefacts, one line for each task and model; at the error level of b's report."""
    from recipes.report.compare import compare_models, find_alpha

    lines, alpha = [], find_alpha(b)
    for row in compare_models(a, b):
        title = " ".join(str(row[key]) for key in ("task", "model") if row.get(key))
        if row["p"] is None:
            lines.append(f"{title}: not compared: {row.get('refused')}")
            continue
        word = "not significant" if row["p"] >= alpha else "better" if row["b"] > row["a"] else "worse"
        interval = f"95 % {100 * row['low']:+.1f} … {100 * row['high']:+.1f} points"
        lines.append(
            f"{title}: {100 * row['a']:.1f} -> {100 * row['b']:.1f} "
            f"({word}; {interval}, p = {row['p']:.2g}, n = {row['n']})"
        )
    return lines or ["no task in common"]
