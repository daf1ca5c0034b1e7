"""Reading a corpus: which nodes come out of Markdown and Quarto, what is left out, and how LaTeX becomes plain text."""

from pathlib import Path

import pytest

from data_builders.core.ledger import Ledger
from data_builders.sources import latex
from data_builders.sources.reader import read_corpus
from recipes.base.errors import RecipeError

SMALL = Path(__file__).parents[1] / "fixtures" / "small_corpus"
TEXTBOOK = Path(__file__).parents[2] / ".." / "shared" / "data" / "analog_textbook"

QUARTO = r"""---
title: Filters
---
\newcommand{\gm}[1][]{g_{\mathrm{m}#1}}
\newcommand{\half}[1]{\frac{#1}{2}}
\def\VDD{V_\mathrm{DD}}

::: {.content-hidden}
Copyright text that nobody learns from, with several words in a row to be long enough for a node.
:::

# Filters {#sec-filters}

A filter (see @fig-filter) passes some frequencies and stops others, as **transfer function** plots show [@Book_2001].
The supply is $\VDD = 1.5\,\text{V}$ and the gain is $\gm[1] R_\mathrm{out}$.[^note]

[^note]: A footnote that is not part of the text.

{{< include _part.qmd >}}
{{< include /missing/part.qmd >}}

![Caption with $x$ and [a link](u)](/img/a.svg){#fig-filter}

| a | b |
|---|---|
| 1 | 2 |

: A table {#tbl-a}

```{python}
#| label: fig-x
#| fig-cap: "Not text."
print(1)
```

$$
f_\mathrm{c} = \frac{1}{2 \pi R C}
$$ {#eq-corner}

## Order of a filter

The order is the number of poles. According to @eq-corner it sets the slope, see @sec-filters, and each pole adds
$20\,\text{dB}$ per decade at `high` frequencies, which is $\half{x} \approx 0.5 \cdot x$.

::: {.callout-note title="Why dB?"}
Ratios of very different size are easier to compare as logarithms, and a product of gains becomes a sum of decibels.
:::

::: {.callout-tip title="Exercise: Do it"}
Please build this filter and look at the result, then tell whether it is what you expected to see on the screen.
:::

### Empty heading

## Further Reading

- A list of books that is of no use for questions, with enough words in it to pass the length gate of nodes.
"""


def read(folder, least=5, most=10000):
    ledger = Ledger()
    corpus = read_corpus(folder, least, most, ledger)
    return corpus, ledger


def quarto(folder):
    (folder / "filters.qmd").write_text(QUARTO, encoding="utf-8")
    (folder / "_part.qmd").write_text("An included sentence about the $Q$ of $R \\parallel C$ stands here.\n")
    return read(folder)


def test_numbered_headings_of_two_levels_are_the_nodes_with_their_facts():
    corpus, ledger = read(SMALL)
    assert [node.number for node in corpus.nodes] == ["1.1", "1.2", "1.4", "2.1", "2.2", "2.3"]
    first = corpus.nodes[0]
    assert first.path == ("Dividers", "Resistive divider") and first.family == "dividers"
    assert "nobody will see" not in first.text and "divider.svg" not in first.text
    assert [fact.id for fact in corpus.facts[first.node_id].fact] == ["divider-series", "divider-load"]
    assert corpus.terms[first.node_id] == ("resistive divider",)
    reasons = ledger.totals()["pieces"]["reasons"]
    assert reasons["image"] == 1 and reasons["caption"] == 1
    assert ledger.totals()["nodes"]["reasons"] == {"heading without text": 3}


def test_node_ids_depend_on_book_and_path_not_on_the_text_or_the_run(tmp_path):
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(
            "# 1 T\n\n## 1.1 One\n\nSome words that are long enough to stay.\n", encoding="utf-8"
        )
    before = [node.node_id for node in read(tmp_path)[0].nodes]
    assert len(set(before)) == 2
    (tmp_path / "a.md").write_text(
        "# 1 T\n\n## 1.1 One\n\nQuite other words, also long enough to stay.\n", encoding="utf-8"
    )
    assert [node.node_id for node in read(tmp_path)[0].nodes] == before


def test_both_length_flags_fire_are_counted_and_the_node_is_kept(tmp_path):
    (tmp_path / "a.md").write_text(
        "# T\n\n## Short\n\nFew words.\n\n## Long\n\n" + "word " * 60 + "\n\n## Fit\n\n" + "word " * 20,
        encoding="utf-8",
    )
    corpus, ledger = read(tmp_path, 10, 50)
    assert {node.title: node.flags for node in corpus.nodes} == {"Short": ("short",), "Long": ("long",), "Fit": ()}
    reasons = ledger.totals()["nodes"]["reasons"]
    assert reasons["short node, flagged"] == 1 and reasons["long node, flagged"] == 1


def test_quarto_headings_and_titled_callouts_are_nodes(tmp_path):
    corpus, ledger = quarto(tmp_path)
    assert [node.path for node in corpus.nodes] == [
        ("Filters",),
        ("Filters", "Order of a filter"),
        ("Filters", "Order of a filter", "Why dB?"),
    ]
    reasons = ledger.totals()
    assert reasons["nodes"]["reasons"] == {"exercise or reading list": 2, "heading without text": 1}
    assert reasons["pieces"]["reasons"].keys() >= {
        "hidden block",
        "include not found",
        "image",
        "table line",
        "caption",
        "code block",
        "footnote",
        "citation",
        "reference aside",
    }


def test_quarto_text_is_plain_prose_with_macros_expanded(tmp_path):
    corpus, _ = quarto(tmp_path)
    chapter, order, _ = corpus.nodes
    assert "A filter passes some frequencies and stops others, as transfer function plots show." in chapter.text
    assert "The supply is VDD = 1.5 V and the gain is gm1 Rout." in chapter.text
    assert "An included sentence about the Q of R || C stands here." in chapter.text
    assert "fc = 1/(2 π R C)" in chapter.text.split("\n")
    assert "According to the equation it sets the slope, see the section on Filters" in order.text
    assert "20 dB per decade at `high` frequencies, which is x/2 ≈ 0.5 * x" in order.text
    for leftover in ("\\", "$", "{", "}", "@", "Copyright", "footnote", "print", "fig-cap"):
        assert leftover not in chapter.text + order.text
    assert corpus.terms[chapter.node_id] == ("transfer function",)


def read_text(folder, text, name="a.md"):
    """The nodes of one document, {title: paragraphs}, and the counts of what was left out by reason."""
    (folder / name).write_text(text, encoding="utf-8")
    corpus, ledger = read(folder, 1)
    pieces = ledger.totals().get("pieces", {"reasons": {}})
    return {node.title: node.text.split("\n") for node in corpus.nodes}, pieces["reasons"]


def test_underlined_headings_give_the_nodes_that_headings_with_signs_give(tmp_path):
    texts = {
        "signs": "# Filters {#sec-f}\n\nSome words, see @sec-o.\n\n## Order of *one* {#sec-o}\n\nMore words.\n",
        "lines": "Filters {#sec-f}\n===\n\nSome words, see @sec-o.\n\nOrder of *one* {#sec-o}\n---\n\nMore words.\n",
    }
    found = []
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text(text, encoding="utf-8")
        nodes = read(tmp_path / name)[0].nodes
        found.append([(node.node_id, node.path, node.text) for node in nodes])
    assert found[0] == found[1]
    assert [(path, text) for _, path, text in found[0]] == [
        (("Filters",), "Some words, see the section on Order of one."),
        (("Filters", "Order of one"), "More words."),
    ]


def test_a_paragraph_of_several_lines_above_a_rule_is_no_heading(tmp_path):
    nodes, _ = read_text(tmp_path, "# A\n\nSome words of\na paragraph.\n---\n\nMore words.\n")
    assert nodes == {"A": ["Some words of a paragraph.", "More words."]}


def test_headings_without_the_space_after_their_signs_are_headings(tmp_path):
    nodes, _ = read_text(tmp_path, "##1 Basics\n\nSome words, #1 of all.\n\n###1.1 Current\n\nMore words.\n")
    (tmp_path / "a.md").unlink()
    same, _ = read_text(tmp_path, "## 1 Basics\n\nSome words, #1 of all.\n\n### 1.1 Current\n\nMore words.\n")
    assert nodes == same == {"Current": ["More words."]}


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("**One**\n\nSome words.\n\n**2 Two**\n\nMore words.\n", {"One": ["Some words."], "Two": ["More words."]}),
        ("Some words.\n\n**Note**\n\nMore words.\n", {"a": ["Some words.", "Note", "More words."]}),
        ("# One\n\nSome words.\n\n**Note**\n\nMore words.\n", {"One": ["Some words.", "Note", "More words."]}),
    ],
    ids=["from the beginning", "not where text comes first", "not beside headings"],
)
def test_lines_in_bold_are_the_headings_of_a_document_that_has_no_others(tmp_path, text, nodes):
    assert read_text(tmp_path, text)[0] == nodes


def test_stars_that_multiply_stay_and_those_of_emphasis_go(tmp_path):
    text = "# A\n\nT = 2*N*td and P = V**2/R, (a + b)*(c + d)*e, *not* so **R**esistive _**loads**_ or un_der_scores.\n"
    nodes, _ = read_text(tmp_path, text)
    assert nodes["A"] == [
        "T = 2*N*td and P = V**2/R, (a + b)*(c + d)*e, not so Resistive loads or un_der_scores.",
    ]


def test_code_and_comments_hide_what_is_in_them_and_nothing_else(tmp_path):
    text = (
        "# A\n\nOne.\n\n````\n```\n# No\n<!--\n```\n````\n\nTwo `<!--` and `-->` three.\n"
        "<!-- a\n\n# No\n\n-->\nFour <!-- b --> five.\n\n- six\n\n  ~~~\n  no\n  ~~~\n\n<script>\n\nno\n\n</script>\n\n"
        "    seven\n"
    )
    nodes, left_out = read_text(tmp_path, text)
    assert nodes == {"A": ["One.", "Two `<!--` and `-->` three.", "Four five.", "- six", "seven"]}
    assert left_out == {"code block": 2, "comment": 2, "<script>": 1}


def test_divs_end_with_their_own_line_whatever_its_length(tmp_path):
    text = (
        '# A\n\n::: {.outer}\nOne.\n\n:::: {.callout-note title="B"}\nTwo.\n\n::: {.content-hidden}\nNo.\n:::\nThree.\n'
        ":::\nFour.\n::::::\n\nFive.\n"
    )
    nodes, left_out = read_text(tmp_path, text)
    assert nodes == {"A": ["One.", "Four.", "Five."], "B": ["Two.", "Three."]}
    assert left_out == {"hidden block": 1}


def test_an_equation_is_a_paragraph_and_takes_nothing_with_it(tmp_path):
    text = (
        "# A\n\nThe sum is\n$$\na\n- b\n= c\n$$ {#eq-a}\nwhere $$\n|d| = e\n$$\nand \\[ f = g \\] at 3$\\sigma$,\n"
        "for 5 $ or 6 $.\n\n"
        "$$ not closed\n\nMore words cost $7.\n"
    )
    nodes, _ = read_text(tmp_path, text)
    assert nodes["A"] == [
        *("The sum is", "a - b = c", "where", "|d| = e", "and", "f = g", "at 3σ, for 5 $ or 6 $."),
        *("$$ not closed", "More words cost $7."),
    ]


def test_lists_links_notes_and_tables_leave_their_prose(tmp_path):
    text = (
        "# A\n\nIn the year\n2002. it *began*.\n\n1. one\n   - two\n\n     more\n2) three\n\na) four\nb) five\n\n"
        '> See [the *guide*][g], <https://a.b> and [G](http://g.h "t"){.x}.[^n] It &lt; ^[An [inner] note.] this.\n\n'
        "[g]: http://a.b\n[^n]: A note\n\n    of two paragraphs.\n\na | b\n--|--\n1 | 2\nThe last line.\n"
    )
    nodes, left_out = read_text(tmp_path, text)
    assert nodes["A"] == [
        *("In the year 2002. it began.", "- one", "- two", "more", "- three", "- four", "- five"),
        *("See the guide, and G. It < this.", "The last line."),
    ]
    assert left_out == {"footnote": 2, "link definition": 1, "table line": 3}


@pytest.mark.parametrize(
    ("math", "plain"),
    [
        (r"\frac{\gm + \gds}{\Cgs}", "(gm + gds)/Cgs"),
        (r"\gm[1,2] \gg \gds[,casc]", "gm1,2 >> gds,casc"),
        (r"20 \log_{10}(x) = -3\,\text{dB}", "20 log10(x) = -3 dB"),
        (r"\overline{V_\mathrm{n}^2} = 4 k T \gamma \gm", "Vn^2 = 4 k T γ gm"),
        (r"1.4 \cdot 10^{-15}\,\mathrm{F}", "1.4 * 10^(-15) F"),
        (r"\gmid = 10", "gm/ID = 10"),
        (r"\sdev[\Delta \Vth] = \frac{A_\mathrm{vth}}{\sqrt{W L}}", "σ(ΔVth) = Avth/sqrt(W L)"),
        (r"\left( \frac{T}{T_0} \right)", "(T/T0)"),
        (r"90^\circ", "90°"),
        (r"50\,\Omega \pm 10\%", "50 Ω ± 10%"),
        (r"\begin{split} a &= b \\ &= c \end{split}", "a = b = c"),
    ],
)
def test_common_math_becomes_what_an_engineer_types(math, plain):
    assert latex.Renderer({}).render(math) == plain


@pytest.mark.parametrize("math", [r"\begin{pmatrix} a & b \end{pmatrix}", r"\mysterycommand{x}", r"\frac{a}{", r"x }"])
def test_math_without_a_plain_form_is_marked_not_garbled(math):
    assert latex.Renderer({}).render(math) == latex.UNREADABLE


def test_macros_expand_with_arguments_defaults_and_each_other_and_loops_end():
    macros, rest = latex.definitions(
        r"\newcommand{\Vx}[2][0]{V_\mathrm{#1,#2}} \newcommand\dbl{\Vx{a}+\Vx[1]{b}} text \def\loop{\loop}"
        r"\DeclareMathOperator{\Var}{Var}"
    )
    renderer = latex.Renderer(macros)
    assert rest.split() == ["text"]
    assert renderer.render(r"\dbl") == "V0,a+V1,b"
    assert renderer.render(r"\Var(x)") == "Var(x)"
    assert renderer.render(r"\loop") == latex.UNREADABLE


def test_undefined_symbol_macros_are_counted():
    renderer = latex.Renderer({})
    assert renderer.render(r"\VGS - \Vth - \VGS[1]") == "VGS - Vth - VGS1"
    assert renderer.unknown == {"VGS": 2, "Vth": 1}


def test_an_include_that_includes_itself_ends(tmp_path):
    (tmp_path / "a.qmd").write_text(
        "# A\n\nSome words to keep this node in.\n\n{{< include a.qmd >}}\n", encoding="utf-8"
    )
    corpus, ledger = read(tmp_path)
    assert len(corpus.nodes) == 1 and ledger.totals()["pieces"]["reasons"] == {"include not found": 1}


def test_plain_text_with_numbered_headings_is_read(tmp_path):
    (tmp_path / "a.txt").write_text(
        "1. Basics\n\n1.1 Current\n\nCurrent is charge in motion.\n\n1.2 Voltage\n\nVoltage drives it on.\n",
        encoding="utf-8",
    )
    assert [node.path for node in read(tmp_path)[0].nodes] == [("Basics", "Current"), ("Basics", "Voltage")]


FACT = (
    'id = "{id}"\nstance = "limits"\nquestions = ["a?", "b?", "c?"]\nanswer = "x"\nwrong = ["p", "q", "r"]\n'
    'why = "Because."\n'
)
HEAD = 'family = "f"\n[[node]]\nsection = "1.1"\n'


@pytest.mark.parametrize(
    ("sidecar", "words"),
    [
        ("family = ", "not valid TOML"),
        ("x = 1\n", "breaks its schema"),
        (HEAD + "[[node.fact]]\n" + FACT.format(id="f") + "typo = 1\n", "Extra inputs"),
        (HEAD + "[[node.fact]]\n" + FACT.format(id="f").replace('"limits"', '"maths"'), "concepts"),
        (HEAD + "[[node.fact]]\n" + FACT.format(id="f").replace('"r"]', '"X"]'), "must all differ"),
        (HEAD + 2 * ("[[node.fact]]\n" + FACT.format(id="f")), "same id"),
        ('family = "f"\n[[node]]\nsection = "9.9"\n', "9.9"),
    ],
)
def test_a_broken_sidecar_is_a_clear_error(tmp_path, sidecar, words):
    (tmp_path / "a.md").write_text(
        "# 1 T\n\n## 1.1 One\n\nSome words that are long enough to stay.\n", encoding="utf-8"
    )
    (tmp_path / "a.toml").write_text(sidecar, encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        read(tmp_path)
    assert words in str(error.value) and "\n  do " in str(error.value)


def test_missing_empty_and_unusable_corpora_are_clear_errors(tmp_path):
    with pytest.raises(RecipeError, match="does not exist"):
        read(tmp_path / "none")
    (tmp_path / "notes.docx").write_bytes(b"x")
    with pytest.raises(RecipeError, match="holds no text"):
        read(tmp_path)
    (tmp_path / "notes.docx").unlink()
    (tmp_path / "a.md").write_text("# Only a heading\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="no learning node"):
        read(tmp_path)
    (tmp_path / "a.md").write_bytes("# Größe\n\nein Text".encode("latin-1"))
    with pytest.raises(RecipeError, match="not UTF-8"):
        read(tmp_path)


@pytest.mark.skipif(not TEXTBOOK.is_dir(), reason="the textbook is not at ../shared/data/analog_textbook")
def test_a_real_textbook_becomes_plain_nodes():
    corpus, ledger = read(TEXTBOOK, 30)
    assert len(corpus.nodes) == 145
    assert sum(not node.flags for node in corpus.nodes) >= 120
    assert {"Miller's Theorem", "MOSFET Diode Noise Calculation", "Why 300 K?"} <= {node.title for node in corpus.nodes}
    for node in corpus.nodes:
        prose = "".join(node.text.split("`")[::2])  # inline code may hold any sign
        assert not set("\\${}@") & set(prose), node.path
        assert "Licensed under" not in node.text and "np.loadtxt" not in node.text
        place = (TEXTBOOK / node.source).read_text(encoding="utf-8")[slice(*node.span)]
        assert place.startswith(("#", ":::")) and node.title.split()[0] in place.split("\n")[0], node.path
    totals = ledger.totals()
    assert totals["pieces"]["reasons"]["include not found"] > 50
    assert all(step["in"] == step["kept"] + step["dropped"] for step in totals.values())
