"""LaTeX math to plain text: authors' macros expanded, common notation written as an engineer types it.

`\\frac{\\gm}{2 \\pi C_\\mathrm{gs}}` becomes `gm/(2 π Cgs)`. What has no plain form (matrices, integrals, undefined
commands that are no symbol) becomes `UNREADABLE`, which the gates refuse in questions.
"""

import re
from collections.abc import Mapping

from data_builders.sources.document import Macro

UNREADABLE = "[…]"
EXPANSIONS = 500  # macros expanded in one formula; definitions that multiply each other end here

GREEK = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "delta": "δ",
    "epsilon": "ε",
    "varepsilon": "ε",
    "zeta": "ζ",
    "eta": "η",
    "theta": "θ",
    "vartheta": "θ",
    "kappa": "κ",
    "lambda": "λ",
    "mu": "µ",
    "nu": "ν",
    "xi": "ξ",
    "pi": "π",
    "rho": "ρ",
    "sigma": "σ",
    "tau": "τ",
    "phi": "φ",
    "varphi": "φ",
    "chi": "χ",
    "psi": "ψ",
    "omega": "ω",
    "Gamma": "Γ",
    "Delta": "Δ",
    "Theta": "Θ",
    "Lambda": "Λ",
    "Xi": "Ξ",
    "Pi": "Π",
    "Sigma": "Σ",
    "Phi": "Φ",
    "Psi": "Ψ",
    "Omega": "Ω",
}
SIGNS = {
    "cdot": " * ",
    "times": " * ",
    "ast": "*",
    "div": " / ",
    "pm": " ± ",
    "mp": " ∓ ",
    "approx": " ≈ ",
    "sim": " ~ ",
    "simeq": " ≈ ",
    "neq": " ≠ ",
    "ne": " ≠ ",
    "le": " ≤ ",
    "leq": " ≤ ",
    "ge": " ≥ ",
    "geq": " ≥ ",
    "gg": " >> ",
    "ll": " << ",
    "to": " → ",
    "rightarrow": " → ",
    "Rightarrow": " ⇒ ",
    "equiv": " ≡ ",
    "propto": " ∝ ",
    "parallel": " || ",
    "infty": "∞",
    "partial": "∂",
    "circ": "°",
    "degree": "°",
    "ldots": "...",
    "dots": "...",
    "cdots": "...",
    "square": "□",
    "quad": " ",
    "qquad": " ",
    "prime": "'",
    "angle": "∠",
    "ell": "l",
    "hbar": "ħ",
    "sum": "Σ ",
    "int": "∫",
    "lvert": "|",
    "rvert": "|",
    "vert": "|",
    "mid": "|",
    "in": " in ",
    "colon": ":",
    "percent": "%",
}
SPACES = {",": " ", ";": " ", ":": " ", " ": " ", "\\": " ", "%": "%", "_": "_", "#": "#", "|": "||"}
WORDS = {name: name for name in ("ln", "log", "exp", "sin", "cos", "tan", "arctan", "min", "max", "lim", "arg", "det")}
IGNORED = {
    "left",
    "right",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "displaystyle",
    "textstyle",
    "limits",
    "nolimits",
}
WRAPPERS = {
    "mathrm",
    "text",
    "mathbf",
    "mathit",
    "mathsf",
    "textrm",
    "textbf",
    "textit",
    "operatorname",
    "overline",
    "underline",
    "boldsymbol",
    "bm",
    "bar",
    "vec",
    "hat",
    "tilde",
    "mathcal",
    "mbox",
    "emph",
    "texttt",
}
# Shorthand that analog texts define outside their chapters; used only where a corpus brings no definition of its own.
CUSTOM = {"gmid": "gm/ID", "gmgds": "gm/gds", "gmCgg": "gm/Cgg"}
FUNCTIONS = {"sdev": "σ", "var": "Var"}
SYMBOL = re.compile(r"[VIRCGLQZAgirvfqc][A-Za-z]{1,4}\d?$")  # VGS, gds, Cgs, Vth: a name that is its own plain form
TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|[{}\[\]^_&~]|\s+|[^\\{}\[\]^_&~\s]", re.S)
DEFINITION = re.compile(  # possessive where spaces may be many, which else are shared out in every way
    r"\\(?:(?:re|provide)?newcommand|DeclareMathOperator|DeclareRobustCommand)\*?\s*+\{?\\([A-Za-z]+)\}?"
    r"\s*+(?:\[(\d)\])?\s*+(?:\[([^\]]{0,1000})\])?\s*+(?=\{)|\\def\s*+\\([A-Za-z]+)\s*+((?:#\d)*)\s*+(?=\{)"
)


BRACE = re.compile(r"(?<!\\)[{}]")


def closings(text: str) -> dict[int, int]:
    """{place of an opening brace: place of the one that closes it}, in one pass."""
    pairs, opened = {}, []
    for match in BRACE.finditer(text):
        if match.group() == "{":
            opened.append(match.start())
        elif opened:
            pairs[opened.pop()] = match.start()
    return pairs


def definitions(text: str) -> tuple[dict[str, Macro], str]:
    """Macros defined in a text, {name: (number of arguments, default of the first or None, body)}, and the text.

    In that text, as long as before, spaces stand where the definitions stood.
    """
    macros, kept, position = {}, [], 0
    pairs = closings(text) if DEFINITION.search(text) else {}
    for match in DEFINITION.finditer(text):
        close = pairs.get(match.end()) if match.start() >= position else None
        if close is None:
            continue
        body, end = text[match.end() + 1 : close], close + 1
        if match.group(1):
            macros[match.group(1)] = (int(match.group(2) or 0), match.group(3), body)
        else:
            macros[match.group(4)] = (match.group(5).count("#"), None, body)
        kept += text[position : match.start()], re.sub(r"[^\n]", " ", text[match.start() : end])
        position = end
    return macros, "".join(kept) + text[position:]


class Renderer:
    """Renders math with the macros of one corpus. `unknown` counts undefined commands by name."""

    def __init__(self, macros: Mapping[str, Macro]) -> None:
        self.macros, self.expanded = macros, 0
        self.unknown: dict[str, int] = {}

    def render(self, math: str) -> str:
        """One line of plain text without backslashes, dollars or braces; UNREADABLE where there is no plain form."""
        parser, self.expanded = Parser(self, TOKEN.findall(math)), 0
        try:
            shown = parser.sequence()
        except (RecursionError, Unreadable):
            return UNREADABLE
        shown = re.sub(r"\s+", " ", shown).strip()
        shown = re.sub(r"\s+([,.;:)\]%])", r"\1", re.sub(r"([(\[])\s+", r"\1", shown))
        return UNREADABLE if re.search(r"[\\{}$&]", shown) else shown


class Unreadable(Exception):
    """This math has no plain form."""


class Parser:
    """Recursive descent over LaTeX tokens; every method returns plain text."""

    def __init__(self, renderer: Renderer, tokens: list[str], depth: int = 0) -> None:
        self.renderer, self.tokens, self.at, self.depth = renderer, tokens, 0, depth
        if depth > 20:
            raise Unreadable

    def peek(self) -> str:
        """The next token; "" at the end."""
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def skip_space(self) -> None:
        while self.peek().isspace():
            self.at += 1

    def sequence(self) -> str:
        """All that is left."""
        out = []
        while self.peek():
            out.append(self.item())
        return "".join(out)

    def raw_group(self) -> list[str]:
        """The tokens of the next argument, unrendered."""
        self.skip_space()
        if self.peek() != "{":
            token = self.peek()
            self.at += 1
            return [token] if token else []
        depth, start = 0, self.at + 1
        while self.peek():
            depth += {"{": 1, "}": -1}.get(self.peek(), 0)
            self.at += 1
            if depth == 0:
                return self.tokens[start : self.at - 1]
        raise Unreadable

    def raw_option(self) -> list[str] | None:
        """The tokens between square brackets, or None where none follow."""
        if self.peek() != "[":
            return None
        depth, start = 0, self.at + 1
        while self.peek():
            depth += {"[": 1, "]": -1}.get(self.peek(), 0)
            self.at += 1
            if depth == 0:
                return self.tokens[start : self.at - 1]
        raise Unreadable

    def inner(self, tokens: list[str]) -> str:
        return Parser(self.renderer, tokens, self.depth + 1).sequence().strip()

    def argument(self) -> str:
        return self.inner(self.raw_group())

    def item(self) -> str:
        token = self.peek()
        self.at += 1
        if token == "{":
            self.at -= 1
            return self.argument()
        if token == "}":
            raise Unreadable
        if token == "_":
            return re.sub(r"\s+", "", self.argument())
        if token == "^":
            power = self.argument()
            if power in ("°", "'", "*"):
                return power
            return "^" + (power if re.fullmatch(r"\w+|∞", power) else f"({power})")
        if token == "&":
            return " "
        if token == "~" or token.isspace():
            return " "
        if not token.startswith("\\"):
            return f" {token} " if token in "=<>" else token
        return self.command(token[1:].rstrip("*"))

    def command(self, name: str) -> str:
        macros = self.renderer.macros
        if name in macros:
            return self.expand(*macros[name])
        if name in ("frac", "dfrac", "tfrac"):
            top, bottom = self.argument(), self.argument()
            return f"{_grouped(top)}/{_grouped(bottom)}"
        if name == "sqrt":
            self.raw_option()
            return f"sqrt({self.argument()})"
        if name in WRAPPERS:
            return self.argument()
        if name in IGNORED:
            if self.peek() == ".":
                self.at += 1
            return ""
        if name in GREEK or name in SIGNS or name in WORDS:
            if name in SIGNS or name == "Delta":
                self.skip_space()
            return GREEK.get(name) or SIGNS.get(name) or WORDS[name]
        if name in ("begin", "end"):
            kind = self.argument()
            if kind in ("split", "aligned", "align", "align*", "equation", "equation*", "gathered"):
                return " "
            raise Unreadable
        if not name.isalpha():
            return SPACES.get(name, "")
        return self.undefined(name)

    def expand(self, count: int, default: str | None, body: str) -> str:
        self.renderer.expanded += 1
        if self.renderer.expanded > EXPANSIONS:
            raise Unreadable
        arguments = []
        for index in range(count):
            option = self.raw_option() if index == 0 and default is not None else None
            if index == 0 and default is not None:
                arguments.append("".join(option) if option is not None else default)
            else:
                arguments.append("".join(self.raw_group()))
        for index, argument in enumerate(arguments, 1):
            body = body.replace(f"#{index}", argument)
        return Parser(self.renderer, TOKEN.findall(body), self.depth + 1).sequence()

    def undefined(self, name: str) -> str:
        self.renderer.unknown[name] = self.renderer.unknown.get(name, 0) + 1
        option = self.raw_option()
        shown = self.inner(option) if option is not None else ""
        if name in FUNCTIONS:
            return f"{FUNCTIONS[name]}({shown})"
        if name in CUSTOM or SYMBOL.match(name):
            return CUSTOM.get(name, name) + shown.replace(" ", "")
        raise Unreadable


def _grouped(part: str) -> str:
    """Brackets around a numerator or denominator that is more than one factor."""
    return part if re.fullmatch(r"[\w.,'∂Δ∞□°]+(\^\w+)?|\w*\([^()]*\)", part) else f"({part})"
