"""A two-stage Miller-compensated op-amp worked out by hand formulas: sizes in, performance out.

Circuit (Allen and Holberg, CMOS Analog Circuit Design, section 6.3; Gray, Hurst, Lewis and Meyer, chapter 9): an NMOS
input pair M1 M2 with the PMOS mirror M3 M4 as load and the tail current I5; a PMOS common source M6 with the current
sink I7; the capacitor Cc from the output to the gate of M6. Supply 1.8 V, common mode at half of it.

Model: the square law with channel-length modulation in proportion to 1/L; the transconductance never exceeds that of
weak inversion, I / (n UT) (Enz, Krummenacher and Vittoz 1995), which the square law alone would break. Left out:
junction
capacitances, body effect, velocity saturation, mismatch, noise. PROCESS is a made-up 0.18 um process, no foundry's.

Every number of finite size gives a result: what is out of bounds or out of bias is a fault, and a faulty design has no
performance at all.
"""

import math
import re
from dataclasses import asdict, dataclass, fields
from types import SimpleNamespace

PROCESS = SimpleNamespace(
    vdd=1.8,  # V
    vth=0.45,  # V, of both kinds
    kpn=300e-6,  # A/V^2
    kpp=75e-6,
    lambda_n=0.08,  # um/V: channel-length modulation of a transistor of 1 um
    lambda_p=0.10,
    cox=8.5e-15,  # F/um^2
    cov=0.35e-15,  # F/um: overlap of gate with source or drain
    weak=1.3 * 0.02585,  # V: slope factor times thermal voltage
    vov_sink=0.15,  # V: overdrive of the transistors that carry I5 and I7, whose widths follow from it
)
UNITS = {"I5": "uA", "I7": "uA", "W1": "um", "W3": "um", "W6": "um", "L": "um", "Cc": "pF"}
BOUNDS = {
    **{"I5": (0.5, 1000.0), "I7": (0.5, 5000.0), "W1": (0.5, 1000.0), "W3": (0.5, 1000.0), "W6": (0.5, 5000.0)},
    **{"L": (0.18, 10.0), "Cc": (0.1, 50.0)},
}
LOAD = (0.1, 100.0)  # pF
LOWEST, HIGHEST = 1.0, 1e12  # Hz: where the gain of 1 is looked for


@dataclass(frozen=True)
class Sizes:
    """What a designer chooses, in the units of UNITS: currents, widths (W1 of M1 and M2, W3 of M3 and M4), one
    length."""

    I5: float
    I7: float
    W1: float
    W3: float
    W6: float
    L: float
    Cc: float

    def __str__(self) -> str:
        return ", ".join(f"{name} = {value:g} {UNITS[name]}" for name, value in asdict(self).items())


@dataclass(frozen=True)
class Performance:
    """What a design does; all zero, with infinite power, where `fault` says why it does not work.

    Attributes:
        gain: dB, at low frequency.
        gbw: MHz, where the gain is 1.
        phase: degrees of phase margin there, with the output fed back.
        slew: V/us, of the slower edge.
        power: uW.
    """

    gain: float = 0.0
    gbw: float = 0.0
    phase: float = 0.0
    slew: float = 0.0
    power: float = math.inf
    fault: str = ""


@dataclass(frozen=True)
class Specification:
    """A load in pF, the least gain, gain-bandwidth, phase margin and slew rate, and the most power, as of
    Performance."""

    load: float
    gain: float
    gbw: float
    phase: float
    slew: float
    power: float

    def __str__(self) -> str:
        return " ".join(f"{name}={value:g}" for name, value in asdict(self).items())

    def met(self, found: Performance) -> dict[str, bool]:
        """Whether each demand is met."""
        least = {name: getattr(found, name) >= getattr(self, name) for name in ("gain", "gbw", "phase", "slew")}
        working = not found.fault
        return {name: working and holds for name, holds in (least | {"power": found.power <= self.power}).items()}

    def share_met(self, found: Performance) -> float:
        """The share of the five demands that are met."""
        return sum(self.met(found).values()) / 5


def read_specification(text: str) -> Specification:
    """The specification that `str` of one wrote. Raises ValueError."""
    try:
        found = Specification(**{name: float(value) for name, value in (part.split("=") for part in text.split())})
    except TypeError as error:
        raise ValueError(str(error)) from None
    if not all(math.isfinite(value) for value in asdict(found).values()):
        raise ValueError("a number of the specification is not finite")
    return found


SCALES = {"uA": 1.0, "mA": 1e3, "nA": 1e-3, "um": 1.0, "nm": 1e-3, "mm": 1e3, "pF": 1.0, "fF": 1e-3, "nF": 1e3}
_SIZE = re.compile(
    rf"\b({'|'.join(UNITS)})\s{{0,3}}[=:]\s{{0,3}}(\d{{1,9}}(?:\.\d{{1,9}})?)(?![\d.])\s{{0,3}}([numpf][AmF]\b)?"
)


def read_sizes(text: str) -> Sizes | None:
    """The sizes in a text such as `str` of Sizes writes; None where one is missing, stated twice, or of a wrong
    unit."""
    found: dict[str, float] = {}
    for name, value, unit in _SIZE.findall(text.replace("\u00b5", "u").replace("\u03bc", "u")):
        if name in found or (unit and unit not in SCALES) or (unit or UNITS[name])[1] != UNITS[name][1]:
            return None
        found[name] = float(value) * SCALES.get(unit, 1.0)
    return Sizes(**found) if len(found) == len(UNITS) else None


@dataclass(frozen=True)
class SmallSignal:
    """The network of a bias point in SI units: transconductances, output conductances and capacitances of its nodes."""

    gm1: float
    gm3: float
    gm6: float
    g1: float
    g2: float
    c1: float
    c2: float
    c3: float
    cc: float

    @property
    def gain(self) -> float:
        """Voltage gain at low frequency."""
        return self.gm1 * self.gm6 / (self.g1 * self.g2)

    def measure_response(self, hertz: float) -> tuple[float, float]:
        """(|gain|, turn of its phase in degrees) at a frequency: two poles and a zero on the right of two coupled
        nodes,
        and the pole and zero of the mirror at one and two times gm3 / C3 (Gray et al., sections 9.4.2 and 7.3.5)."""
        w, both = 2 * math.pi * hertz, self.g1 * self.g2
        a = (self.c1 + self.cc) / self.g1 + (self.c2 + self.cc) / self.g2 + self.gm6 * self.cc / both
        b = (self.c1 * self.c2 + self.cc * (self.c1 + self.c2)) / both
        real, imaginary = 1 - b * w * w, a * w
        zero, mirror = w * self.cc / self.gm6, w * self.c3 / self.gm3
        size = self.gain * math.hypot(1, zero) / math.hypot(real, imaginary)
        size *= math.hypot(1, mirror / 2) / math.hypot(1, mirror)
        turned = math.atan(mirror / 2) - math.atan(mirror) - math.atan(zero) - math.atan2(imaginary, real)
        return size, math.degrees(turned)


def find_fault(sizes: Sizes, load: float) -> str:
    """Why a design has no working point: a size out of bounds, or a transistor out of saturation; empty where none."""
    for entry in fields(sizes):
        value, (least, most) = getattr(sizes, entry.name), BOUNDS[entry.name]
        if not least <= value <= most:
            return f"{entry.name} is outside {least:g} to {most:g} {UNITS[entry.name]}"
    if not LOAD[0] <= load <= LOAD[1]:
        return f"the load is outside {LOAD[0]:g} to {LOAD[1]:g} pF"
    p, middle = PROCESS, PROCESS.vdd / 2
    vov1, vov3, vov6 = overdrives(sizes)
    if middle - p.vth - vov1 < p.vov_sink:
        return "the tail transistor leaves saturation: W1 is too small for I5"
    if p.vdd - p.vth - max(vov3, vov6) < middle - p.vth:
        return "the input pair leaves saturation: W3 or W6 is too small for its current"
    if p.vth + vov6 < vov3:
        return "the mirror leaves saturation: W6 is too large beside W3"
    if vov6 > middle:
        return "M6 leaves saturation: W6 is too small for I7"
    return ""


def overdrives(sizes: Sizes) -> tuple[float, float, float]:
    """Gate overdrives of M1, M3 and M6 in V by the square law."""
    return tuple(
        math.sqrt(2e-6 * current * sizes.L / (kp * width))
        for current, kp, width in (
            (sizes.I5 / 2, PROCESS.kpn, sizes.W1),
            (sizes.I5 / 2, PROCESS.kpp, sizes.W3),
            (sizes.I7, PROCESS.kpp, sizes.W6),
        )
    )  # type: ignore[return-value]


def linearise(sizes: Sizes, load: float) -> SmallSignal:
    """The small-signal network of a design without a fault."""
    p, length = PROCESS, sizes.L
    half, second = 0.5e-6 * sizes.I5, 1e-6 * sizes.I7
    vov1, vov3, vov6 = overdrives(sizes)
    gm1, gm3, gm6 = (
        2 * current / max(vov, 2 * p.weak) for current, vov in ((half, vov1), (half, vov3), (second, vov6))
    )
    n, q = p.lambda_n / length, p.lambda_p / length
    # The output resistance is (1 / lambda + VDS) / I. The mirror's side of the first stage stands at VDD - VSG3, and
    # the feedback brings the other one to VDD - VSG6.
    first_n, first_p, middle = p.vdd / 2 - vov6 + vov1, p.vth + vov6, p.vdd / 2
    gate = 2 / 3 * length * p.cox + p.cov  # F/um: gate to source in saturation
    w7 = 2 * second * length / (p.kpn * p.vov_sink**2)
    return SmallSignal(
        gm1=gm1,
        gm3=gm3,
        gm6=gm6,
        g1=half * (n / (1 + n * first_n) + q / (1 + q * first_p)),
        g2=second * (n / (1 + n * middle) + q / (1 + q * middle)),
        c1=gate * sizes.W6 + p.cov * (sizes.W1 + sizes.W3),
        c2=1e-12 * load + p.cov * w7,
        c3=2 * gate * sizes.W3 + p.cov * sizes.W1,
        cc=1e-12 * sizes.Cc + p.cov * sizes.W6,
    )


def simulate(sizes: Sizes, load: float) -> Performance:
    """The performance of a design that drives `load` pF; its crossing of 1 is found by halving."""
    if fault := find_fault(sizes, load):
        return Performance(fault=fault)
    network = linearise(sizes, load)
    if network.gain <= 1:
        return Performance(fault="its gain is below 1")
    low, high = math.log(LOWEST), math.log(HIGHEST)
    for _ in range(24):  # to two parts in a million
        middle = (low + high) / 2
        low, high = (middle, high) if network.measure_response(math.exp(middle))[0] > 1 else (low, middle)
    unity = math.exp(low)
    tail, second = 1e-6 * sizes.I5, 1e-6 * sizes.I7
    return Performance(
        gain=20 * math.log10(network.gain),
        gbw=unity / 1e6,
        phase=180 + network.measure_response(unity)[1],
        # M5 discharges Cc alone; M7 has to take in the current of Cc and of the load (Allen and Holberg, section 6.2).
        slew=min(tail / network.cc, second / (network.cc + network.c2)) / 1e6,
        power=PROCESS.vdd * (sizes.I5 + sizes.I7),
    )


def figure_of_merit(found: Performance, load: float) -> float:
    """Gain-bandwidth times load over power, in MHz pF / mW; 0 for a design that does not work."""
    return 0.0 if found.fault else 1e3 * found.gbw * load / found.power


DECKS = {  # what is asked of SPICE: the source of the input, how the loop is closed, the analysis
    "ac": (
        "VIN plus 0 DC {middle} AC 1",
        # A huge inductor closes the loop at direct current and a huge capacitor opens it for signals.
        ("LFB out minus 1G", "CFB minus 0 1G"),
        (
            ".save v(out)",
            ".ac dec 50 1 1e11",
            ".meas ac low find vdb(out) at=1",
            ".meas ac unity when vdb(out)=0 fall=1",
            ".meas ac turned find vp(out) when vdb(out)=0 fall=1",
        ),
    ),
    "op": ("VIN plus 0 DC {middle}", ("RFB out minus 1",), (".op", ".print op i(VDD)")),
    "tran": (
        "VIN plus 0 PULSE(0.7 1.1 1u 1n 1n {hold}u {period}u)",
        ("RFB out minus 1",),
        (
            ".tran {step}u {period}u",
            ".meas tran rise trig v(out) val=0.8 rise=1 targ v(out) val=1.0 rise=1",
            ".meas tran fall trig v(out) val=1.0 fall=1 targ v(out) val=0.8 fall=1",
        ),
    ),
}


def write_netlist(sizes: Sizes, load: float, deck: str = "ac") -> str:
    """A SPICE deck of a working design with level-1 models, written from numbers alone.

    `ac` measures low (dB at 1 Hz), unity (Hz) and turned (radians there); `op` prints the current of the supply, the
    reference of I5 included; `tran` measures rise and fall, the seconds that 0.2 V of a step take.
    """
    p, length = PROCESS, f"{sizes.L:.6g}u"
    w5, w7 = (2e-6 * current * sizes.L / (p.kpn * p.vov_sink**2) for current in (sizes.I5, sizes.I7))
    tox = 3.9 * 8.854e-12 / (p.cox * 1e12)
    model = f"LEVEL=1 TOX={tox:.6g} CGSO={p.cov * 1e6:.6g} CGDO={p.cov * 1e6:.6g} GAMMA=0"
    hold = max(2.0, 4 * sizes.Cc / sizes.I5)  # us: time for a step at an eighth of the slew rate
    source, loop, analysis = DECKS[deck]
    numbers = {
        "middle": p.vdd / 2,
        "hold": f"{hold:.6g}",
        "period": f"{2 * hold + 1:.6g}",
        "step": f"{hold / 2000:.6g}",
    }
    return "\n".join(
        [
            "* two-stage Miller op-amp",
            f"VDD vdd 0 {p.vdd:g}",
            source.format(**numbers),
            *loop,
            f"IB vdd bias {sizes.I5:.6g}u",
            f"M8 bias bias 0 0 nch W={w5:.6g}u L={length}",
            f"M5 tail bias 0 0 nch W={w5:.6g}u L={length}",
            f"M7 out bias 0 0 nch W={w7:.6g}u L={length}",
            f"M1 d1 minus tail 0 nch W={sizes.W1:.6g}u L={length}",
            f"M2 d2 plus tail 0 nch W={sizes.W1:.6g}u L={length}",
            f"M3 d1 d1 vdd vdd pch W={sizes.W3:.6g}u L={length}",
            f"M4 d2 d1 vdd vdd pch W={sizes.W3:.6g}u L={length}",
            f"M6 out d2 vdd vdd pch W={sizes.W6:.6g}u L={length}",
            f"CC d2 out {sizes.Cc:.6g}p",
            f"CL out 0 {load:.6g}p",
            f".model nch NMOS {model} VTO={p.vth:g} KP={p.kpn:.6g} LAMBDA={p.lambda_n / sizes.L:.6g}",
            f".model pch PMOS {model} VTO=-{p.vth:g} KP={p.kpp:.6g} LAMBDA={p.lambda_p / sizes.L:.6g}",
            f".nodeset v(out)={p.vdd / 2:g} v(minus)={p.vdd / 2:g}",
            *(line.format(**numbers) for line in analysis),
            ".end",
            "",
        ]
    )
