"""Op-amp bench: a tool with which a model simulates its sizes between its turns, for the task of arXiv 2508.10409.

The bench knows the specification of the conversation's row. Its answers are numbers of `recipes.base.opamp`; the
calls of one reply are bounded, and no input makes it do anything but a fixed number of arithmetic operations.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field

from recipes.base.opamp import UNITS, Sizes, Specification, figure_of_merit, read_specification, simulate
from recipes.config.slots import Method

if TYPE_CHECKING:
    from recipes.models.rl_context import RlContext

VERSION = 1
PAPER = "arXiv 2508.10409"


class Config(Method):
    """How often the bench answers."""

    calls: int = Field(4, ge=1, description="simulations in one reply; later ones are told so")


class Bench:
    """One conversation's bench; TRL makes one for each reply that is sampled at once, and resets it before each use."""

    def __init__(self, own: Config):
        self._own, self._calls = own, 0
        self._specification: Specification | None = None

    def reset(self, specification: str | None = None, **columns: Any) -> None:
        """Begin a conversation about the specification of a row; a row of another kind has none."""
        self._calls = 0
        self._specification = read_specification(specification) if specification else None

    def simulate(self, I5: float, I7: float, W1: float, W3: float, W6: float, L: float, Cc: float) -> str:
        """
        Simulate the two-stage op-amp with these sizes at the load that was asked for.

        Args:
            I5: Tail current in uA.
            I7: Current of the second stage in uA.
            W1: Width of each input transistor in um.
            W3: Width of each mirror transistor in um.
            W6: Width of the second stage's transistor in um.
            L: Length of all transistors in um.
            Cc: Compensation capacitor in pF.

        Returns:
            Gain, gain-bandwidth, phase margin, slew rate and power, each with whether it meets its demand.
        """
        self._calls += 1
        if self._calls > self._own.calls:
            return "error: no simulations are left"
        if self._specification is None:
            return "error: this question has no specification"
        try:
            sizes = Sizes(*(float(value) for value in (I5, I7, W1, W3, W6, L, Cc)))
        except (TypeError, ValueError, OverflowError):
            return f"error: the sizes are the seven numbers {', '.join(UNITS)}"
        return report(sizes, self._specification)


def report(sizes: Sizes, wanted: Specification) -> str:
    """What the bench answers."""
    found = simulate(sizes, wanted.load)
    if found.fault:
        return f"error: {found.fault}"
    shown = {
        "gain": f"gain {found.gain:.1f} dB",
        "gbw": f"gain-bandwidth {found.gbw:.3g} MHz",
        "phase": f"phase margin {found.phase:.1f} deg",
        "slew": f"slew rate {found.slew:.3g} V/us",
        "power": f"power {found.power:.4g} uW",
    }
    told = [f"{text} ({'met' if met else 'not met'})" for text, met in zip(shown.values(), wanted.met(found).values())]
    return ", ".join([*told, f"figure of merit {figure_of_merit(found, wanted.load):.4g} MHz pF/mW"])


def make_environment(own: Config, context: "RlContext") -> Callable[[], Bench]:
    """What TRL calls for each reply that is sampled at once."""
    return lambda: Bench(own)
