"""The taxonomy: fields, sub-fields, disciplines, and what people voted to remove."""

import tomllib
from dataclasses import dataclass

from recipes.base.errors import RecipeError
from recipes.base.toml import read_toml

FILE = "taxonomy.toml"
KINDS = ("academic", "vocational")
SEPARATOR = " > "


@dataclass(frozen=True)
class Discipline:
    """A leaf of the taxonomy. `votes` is {"keep", "remove"} or None; `status` kept, unvoted, or "removed: NODE"."""

    field: str
    sub_field: str
    discipline: str
    kind: str
    votes: dict | None
    status: str

    @property
    def removed(self):
        return self.status.startswith("removed")


def read_taxonomy(folder):
    """Every Discipline of a folder's taxonomy.toml, removed ones too, in its order.

    A node is removed where more people voted to remove it than to keep it (a tie keeps it), and with it all that lies
    below. Raises RecipeError that lists all that is wrong with the file.
    """
    file = folder / FILE
    try:
        table = read_toml(file)
        votes = table.get("votes", {})
        paths = [
            ((field["name"], sub["name"], name), kind)
            for field in table["field"]
            for sub in field["sub_field"]
            for kind in KINDS
            for name in sub.get(kind, ())
        ]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise RecipeError(
            "The taxonomy cannot be read.",
            where=str(file),
            got=f"{type(error).__name__}: {error}",
            allowed="[[field]] with name, in it [[field.sub_field]] with name and lists academic or vocational",
            fix="mend the file",
        ) from None
    nodes = {SEPARATOR.join(path[:depth]) for path, _ in paths for depth in (1, 2, 3)}
    names = [path[-1] for path, _ in paths]
    faults = [f"{name} stands twice" for name in sorted({name for name in names if names.count(name) > 1})]
    faults += [f"votes for {node!r}, which is no node" for node in sorted(votes.keys() - nodes)]
    faults += [
        f"votes for {node!r}: {count}"
        for node, count in votes.items()
        if not isinstance(count, dict)
        or count.keys() != {"keep", "remove"}
        or not all(isinstance(number, int) and number >= 0 for number in count.values())
    ]
    if faults or not paths:
        raise RecipeError(
            "The taxonomy is not usable.",
            where=str(file),
            got="\n".join(faults[:10]) or "no discipline",
            allowed='each discipline once; [votes] "Field > Sub-field > Discipline" = {keep = 3, remove = 1}',
            fix="mend the entries named",
        )
    return [Discipline(*path, kind, votes.get(SEPARATOR.join(path)), _status(path, votes)) for path, kind in paths]


def _status(path, votes):
    above = [SEPARATOR.join(path[:depth]) for depth in (1, 2, 3)]
    gone = next((node for node in above if node in votes and votes[node]["remove"] > votes[node]["keep"]), None)
    return f"removed: {gone}" if gone else "kept" if above[-1] in votes else "unvoted"


def chosen(disciplines, names, ledger):
    """The disciplines of those `names` (all for none), in the order of the taxonomy; removed ones are counted.

    Raises RecipeError for a name that is not there, or was removed.
    """
    there = {entry.discipline: entry for entry in disciplines}
    wrong = [name for name in names if name not in there or there[name].removed]
    if wrong:
        raise RecipeError(
            "A discipline cannot be used.",
            where="data.disciplines",
            got=", ".join(
                f"{name} ({there[name].status if name in there else 'not in the taxonomy'})" for name in wrong
            ),
            allowed=", ".join(entry.discipline for entry in disciplines if not entry.removed),
            fix="correct the name, or add it to the taxonomy",
        )
    for entry in disciplines:
        if entry.removed:
            ledger.drop("disciplines", "voted out", entry.discipline, entry.status)
        elif names and entry.discipline not in names:
            ledger.drop("disciplines", "not chosen", entry.discipline)
        else:
            ledger.keep("disciplines")
    return [entry for entry in disciplines if not entry.removed and (not names or entry.discipline in names)]
