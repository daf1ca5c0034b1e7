"""How quantities and lists are put into sentences."""

from collections.abc import Mapping, Sequence

from data_builders.sources.facts import Formula


def join_words(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def write_quantity(value: str, unit: str) -> str:
    """`60 uA`; a pure number stands alone."""
    return f"{value} {unit}".rstrip()


def write_givens(formula: Formula, values: Mapping[str, str]) -> str:
    """`reference current Iref = 20 uA and size ratio K = 3`."""
    return join_words(
        [
            f"{given.quantity} {given.symbol} = {write_quantity(values[given.symbol], given.unit)}"
            for given in formula.given
        ]
    )
