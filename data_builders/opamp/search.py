"""Sizes for a specification: by hand formulas alone, and by a search that simulates."""

import math
from collections.abc import Callable
from dataclasses import replace

from recipes.base.opamp import BOUNDS, PROCESS, Performance, Sizes, Specification, simulate

DIGITS = (1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2)  # the series E12: what every size is taken from
NAMES = ("I5", "I7", "W1", "W3", "W6", "L", "Cc")
# Sizes that a step moves together: each alone, and pairs that leave gain-bandwidth, slew rate or the mirror's balance.
MOVES = (
    *((name,) for name in NAMES),
    *(("I5", "W1"), ("I7", "W6"), ("W1", "Cc"), ("I5", "Cc"), ("I5", "W1", "Cc"), ("W3", "W6"), ("W1", "L")),
)
STEPS = (-2, -1, 1, 2)  # values of the series


def snap(name: str, value: float) -> float:
    """The value of the series nearest to a size, within its bounds."""
    least, most = BOUNDS[name]
    return number(min(max(place(value), math.ceil(raw_place(least) - 1e-9)), math.floor(raw_place(most) + 1e-9)))


def raw_place(value: float) -> float:
    """Where a value stands in the series, by its logarithm."""
    return 12 * math.log10(value)


def place(value: float) -> int:
    """The index of the value of the series nearest to a positive number."""
    return round(raw_place(value))


def number(index: int) -> float:
    """The value of the series at an index."""
    decade, within = divmod(index, 12)
    return float(f"{DIGITS[within] * 10.0**decade:.2g}")


def size_by_hand(wanted: Specification) -> Sizes:
    """Sizes by the steps of a textbook, without a simulation (Allen and Holberg, section 6.3)."""
    p = PROCESS
    cc = max(0.3 * wanted.load, 0.15)  # pF; 0.22 of the load gives 60 degrees where the zero is far away
    i5 = wanted.slew * cc  # uA
    gm1 = 2 * math.pi * wanted.gbw * cc * 1.2  # uS
    i5 = max(i5, gm1 * 2 * p.weak)  # no transistor gives more than weak inversion
    vov1 = i5 / gm1
    gm6 = 2.2 * gm1 * wanted.load / cc  # the second pole above 2.2 times the gain-bandwidth
    vov6 = 0.2
    i7 = gm6 * vov6 / 2
    length = 0.18
    if gm1 and gm6:  # the gain is 4 / (vov1 vov6 lambda^2), with lambda in proportion to 1 / L
        both = p.lambda_n + p.lambda_p
        length = both * math.sqrt(10 ** (wanted.gain / 20) * vov1 * vov6 / 4)
    w1 = i5 * length / (p.kpn * 1e6 * vov1**2)
    w3, w6 = i5 * length / (p.kpp * 1e6 * vov6**2), 2 * i7 * length / (p.kpp * 1e6 * vov6**2)
    drawn = dict(zip(NAMES, (i5, i7, w1, w3, w6, length, cc)))
    return Sizes(**{name: snap(name, value) for name, value in drawn.items()})


def shortfall(wanted: Specification, found: Performance) -> float:
    """How far a design is from its demands: the sum of relative gaps, power apart; 10 for one that does not work."""
    if found.fault:
        return 10.0
    pairs = ((found.gain, wanted.gain), (found.gbw, wanted.gbw), (found.phase, wanted.phase), (found.slew, wanted.slew))
    return sum(max(0.0, 1 - value / least) for value, least in pairs)


def find_least_power(wanted: Specification, calls: int) -> tuple[Sizes, Performance] | None:
    """Sizes of the series that meet all demands but power, with as little of it as a pattern search of at most `calls`
    simulations finds from the sizes by hand; None where it finds none. The same for the same specification."""
    spent = 0

    def judge(sizes: Sizes) -> tuple[tuple[float, float], Performance]:
        nonlocal spent
        spent += 1
        found = simulate(sizes, wanted.load)
        return (shortfall(wanted, found), found.power), found

    best = size_by_hand(wanted)
    value, performance = judge(best)
    moved = True
    while moved and spent < calls:
        moved = False
        for names in MOVES:
            for step in STEPS:
                tried = _move(best, names, step)
                if tried == best or spent >= calls:
                    continue
                its, found = judge(tried)
                if its < value:
                    best, value, performance, moved = tried, its, found, True
    return (best, performance) if value[0] == 0 else None


def _move(sizes: Sizes, names: tuple[str, ...], step: int) -> Sizes:
    return replace(sizes, **{name: snap(name, number(place(getattr(sizes, name)) + step)) for name in names})


Draw = Callable[[str], float]  # the value of a demand, by its name


def specify(load: float, draw: Draw, calls: int) -> tuple[Specification, Sizes] | None:
    """A specification that can be met, and sizes that meet it; None where the search finds none.

    The power that is allowed is the least that was found, times a drawn slack, in two digits.
    """
    gbw = draw("gbw")
    slew = float(f"{2 * math.pi * gbw * draw('overdrive'):.2g}")
    wanted = Specification(load, draw("gain"), gbw, draw("phase"), slew, math.inf)
    found = find_least_power(wanted, calls)
    if found is None:
        return None
    sizes, performance = found
    allowed = float(f"{performance.power * draw('slack'):.2g}")
    return replace(wanted, power=allowed), sizes
