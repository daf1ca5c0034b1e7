"""Documents other than Markdown: what becomes of PDF, HTML, LaTeX and JSONL, and that the order is always the same."""

import itertools
import json
import multiprocessing
from dataclasses import asdict

import pytest

from data_builders.core.ledger import Ledger
from data_builders.sources import pool
from data_builders.sources.document import Limits, Settings, Shared
from data_builders.sources.nodes import CHUNK
from data_builders.sources.reader import read_corpus
from data_builders.sources.sources import Unit
from recipes.base.errors import RecipeError
from tests.helpers.pdf_files import BOLD, column, pdf

LEFT = [
    "The common source stage turns a voltage at",
    "its gate into a current at its drain. The cur-",
    "rent flows through a load, and the signal is",
    "ampli\256ed. A low-power stage needs a small",
    "current. Many designers like a well made low-",
    "power stage for its long life in batteries.",
]
RIGHT = [
    "The cascode adds a second device on top of",
    "the \256rst one and raises the output resistance.",
    "It costs headroom, which is scarce at a low",
    "supply, and it needs a bias voltage of its own",
    "that follows the process and the temperature.",
]


def book():
    """Three pages in two columns, written line by line across the columns, and a page without text."""
    pages = []
    for page, title in enumerate(("Amplifier stages", "Current mirrors", "Current mirrors"), 1):
        across = [
            line for pair in itertools.zip_longest(column(50, 720, LEFT), column(310, 720, RIGHT)) for line in pair
        ]
        pages.append(
            [
                (50, 810, 8, f"Circuits for Everyone, page {page} of this book"),
                (290, 30, 9, str(page)),
                *([(150, 770, 20, title)] if page < 3 else []),
                (50, 740, 12, f"{page}.1 Basics of the subject", BOLD),
                *(line for line in across if line),
            ]
        )
    return pdf([*pages, []])


def read(folder, least=5, most=10_000, **settings):
    ledger = Ledger()
    return read_corpus(folder, least, most, ledger, **settings), ledger


@pytest.fixture(scope="module")
def pdf_corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pdf")
    (folder / "book.pdf").write_bytes(book())
    return read(folder, workers=1)


def test_two_columns_of_a_pdf_are_read_one_after_the_other(pdf_corpus):
    text = pdf_corpus[0].nodes[0].text
    assert text.index("long life in batteries") < text.index("The cascode adds")
    assert "the signal is amplified" in text and "the first one and raises" in text


def test_words_divided_at_a_line_end_are_joined_and_compounds_keep_their_hyphen(pdf_corpus):
    text = pdf_corpus[0].nodes[0].text
    assert "The current flows through a load" in text
    assert "a well made low-power stage" in text


def test_running_heads_and_page_numbers_go_and_are_counted(pdf_corpus):
    corpus, ledger = pdf_corpus
    reasons = ledger.totals()["pieces"]["reasons"]
    assert reasons["running head"] == 3 and reasons["page number"] == 3
    assert not any("for Everyone" in node.text or node.text.rstrip().endswith(" 1") for node in corpus.nodes)


def test_larger_letters_make_headings_and_section_paths_with_pages(pdf_corpus):
    nodes = pdf_corpus[0].nodes
    assert [(node.number, node.path, node.pages) for node in nodes] == [
        ("1.1", ("Amplifier stages", "Basics of the subject"), (1, 1)),
        ("2.1", ("Current mirrors", "Basics of the subject"), (2, 2)),
        ("3.1", ("Current mirrors", "Basics of the subject"), (3, 3)),
    ]
    assert all(node.source == "book.pdf" for node in nodes)
    spans = [node.span for node in nodes]
    assert all(start < end for start, end in spans) and spans == sorted(spans) and spans[0][1] <= spans[1][0]


def test_a_page_without_text_is_reported_and_a_scanned_book_is_an_error(pdf_corpus, tmp_path):
    totals = pdf_corpus[1].totals()["pages"]
    assert (totals["in"], totals["kept"], sum(totals["reasons"].values())) == (4, 3, 1)
    assert [row["detail"] for row in pdf_corpus[1].rows if row["step"] == "pages"] == ["page 4"]
    (tmp_path / "scan.pdf").write_bytes(pdf([[], []]))
    with pytest.raises(RecipeError, match="2 pages without text") as error:
        read(tmp_path, workers=1)
    assert "text recognition" in str(error.value)


def test_text_without_headings_is_cut_at_paragraph_ends_with_page_and_place(tmp_path):
    pages = [
        column(50, 780, [f"Sentence {i} of page {page} has some words in it." for i in range(50)]) for page in range(8)
    ]
    (tmp_path / "plain.pdf").write_bytes(pdf(pages))
    nodes = read(tmp_path, workers=1)[0].nodes
    assert len(nodes) == 3 and all(0.5 * CHUNK < node.n_tokens < 1.5 * CHUNK for node in nodes)
    assert [node.title for node in nodes] == [f"plain ({count} of 3)" for count in (1, 2, 3)]
    assert nodes[0].pages[0] == 1 and nodes[-1].pages[1] == 8
    assert len({node.node_id for node in nodes}) == 3


HTML = r"""<!doctype html><html><head><title>A book</title><script>var x = "not text";</script></head><body>
<nav>Menu Home Next</nav><main><header><h1>Noise</h1></header>
<p>Resistors make <b>thermal noise</b> with a density of \(\sqrt{4 k T R}\).<p>It is white up to very high frequencies.
<h2>2.1 Corner<a href="#c">¶</a></h2><ul><li>flicker noise falls</li><li>white noise stays</li></ul>
<math alttext="\frac{a}{b}"><mi>a</mi><mi>b</mi></math> is the ratio&nbsp;of both.<table><tr><td>cell</td></tr></table>
<p>Figure 3: A caption that is left out.</p><pre>code()</pre></main><footer>Imprint and so on</footer></body></html>"""


def test_html_gives_its_main_text_under_its_headings(tmp_path):
    (tmp_path / "page.html").write_text(HTML, encoding="utf-8")
    corpus, ledger = read(tmp_path, workers=1)
    first, second = corpus.nodes
    assert first.path == ("Noise",) and second.path == ("Noise", "Corner") and second.number == "2.1"
    assert first.text.split("\n") == [
        "Resistors make thermal noise with a density of sqrt(4 k T R).",
        "It is white up to very high frequencies.",
    ]
    assert second.text.split("\n") == ["- flicker noise falls", "- white noise stays", "a/b is the ratio of both."]
    assert corpus.terms[first.node_id] == ("thermal noise",)
    assert ledger.totals()["pieces"]["reasons"].keys() >= {"<table>", "<pre>", "caption"}
    for part in ("Menu", "Imprint", "not text", "code()", "cell"):
        assert part not in first.text + second.text


TEX = r"""\documentclass{book}\title{My book}
\newcommand{\gm}{g_\mathrm{m}}
\begin{document}\maketitle
\chapter{Amplifiers \& more}\label{c}
A \textbf{common source} stage has a gain of $\gm R$, see~\eqref{e} and Fig.~\ref{f}. ``Quoted'', na\"ive\footnote{No.}.
\begin{equation}\label{e} A = \frac{\gm}{2\pi C} \end{equation}
% a comment
\begin{itemize}\item First one \item Second one\end{itemize}
\begin{figure}\includegraphics{x}\caption{A caption.}\end{figure}
\input{noise}
\end{document}"""


def test_latex_gives_prose_with_macros_inputs_and_places(tmp_path):
    (tmp_path / "book.tex").write_text(TEX, encoding="utf-8")
    (tmp_path / "noise.tex").write_text("\\section{Noise}\nA resistor is noisy: \\[ a = b. \\] That is all, at 5~V.\n")
    (tmp_path / "macros.tex").write_text("\\newcommand{\\unused}{x}\n")
    corpus, ledger = read(tmp_path, workers=1)
    first, second = corpus.nodes
    assert first.path == ("Amplifiers & more",) and second.path == ("Amplifiers & more", "Noise")
    assert first.text.split("\n") == [
        "A common source stage has a gain of gm R, see the equation and the figure. “Quoted”, naïve.",
        "A = gm/(2π C)",
        "- First one",
        "- Second one",
    ]
    assert second.text.split("\n") == ["A resistor is noisy:", "a = b", "That is all, at 5 V."]
    whole = TEX.replace(r"\input{noise}", (tmp_path / "noise.tex").read_text())
    assert whole[slice(*first.span)].startswith(r"\chapter{Amplifiers") and whole[slice(*second.span)].startswith(
        r"\section"
    )
    assert ledger.totals()["documents"]["in"] == 1
    assert ledger.totals()["pieces"]["reasons"].keys() >= {"environment figure", "footnote"}


def test_each_row_of_a_jsonl_file_is_a_document_named_by_its_line(tmp_path):
    rows = [{"body": f"Text number {n} has words enough for a node.", "title": f"Title {n}"} for n in range(3)]
    rows.append({"body": "# One\n\nWords below the first heading.\n\n# Two\n\nWords below the second heading.\n"})
    (tmp_path / "rows.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    nodes = read(tmp_path, text_field="body")[0].nodes
    assert [(node.source, node.path) for node in nodes] == [
        ("rows.jsonl:1", ("Title 0",)),
        ("rows.jsonl:3", ("Title 1",)),
        ("rows.jsonl:5", ("Title 2",)),
        ("rows.jsonl:7", ("One",)),
        ("rows.jsonl:7", ("Two",)),
    ]
    assert rows[3]["body"][slice(*nodes[4].span)] == "# Two\n\nWords below the second heading."
    with pytest.raises(RecipeError, match="no text") as error:
        read(tmp_path)
    assert "data.text_field" in str(error.value)


def test_the_span_of_a_markdown_node_is_its_place_in_the_file(tmp_path):
    code = "```\ncode\n\ncode\n```\n\n"
    text = f"---\nt: x\n---\n# A\n\n<!-- no -->\nWords of the first node.\n\n{code}## B {{#b}}\n\nWords of another.\n"
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    first, second = read(tmp_path)[0].nodes
    assert text[slice(*first.span)].startswith("# A") and text[slice(*first.span)].endswith("first node.")
    assert text[slice(*second.span)] == "## B {#b}\n\nWords of another."


def test_documents_that_differ_only_in_their_suffix_get_ids_of_their_own(tmp_path):
    for name in ("a.md", "a.txt", "a.markdown"):
        (tmp_path / name).write_text("Some words that are long enough.\n", encoding="utf-8")
    assert len({node.node_id for node in read(tmp_path)[0].nodes}) == 3


def test_several_processes_give_what_one_gives_in_the_same_order(tmp_path, monkeypatch):
    (tmp_path / "c.html").write_text(HTML, encoding="utf-8")
    (tmp_path / "b.pdf").write_bytes(book())
    for number in range(9):
        (tmp_path / f"a{number}.md").write_text(
            f"# A{number}\n\nSome words of chapter $\\x$ {number}.\n\n## B\n\n" * 30
        )
    rows = [json.dumps({"text": f"# R{n}\n\nSome words of row {n} here."}) for n in range(400)]
    (tmp_path / "d.jsonl").write_text("\n".join(rows))
    monkeypatch.setattr("data_builders.sources.sources.BLOCK", 4096)
    results = []
    for workers in (1, 3):
        corpus, ledger = read(tmp_path, workers=workers)
        results.append(
            json.dumps([[asdict(node) for node in corpus.nodes], corpus.terms, ledger.rows, ledger.totals()])
        )
    assert results[0] == results[1]
    assert [node.source for node in corpus.nodes if node.source.startswith("d.")] == [
        f"d.jsonl:{n + 1}" for n in range(400)
    ]


def test_a_corpus_is_read_as_it_is_asked_for(tmp_path):
    (tmp_path / "a.md").write_text("# A\n\nSome words that are long enough.\n", encoding="utf-8")
    settings = Settings(str(tmp_path), 1, 100, "text", Limits(), {"a.md": "a"})
    taken = itertools.count()
    endless = ((Unit("a.md"), (next(taken) or 1) and 10**6) for _ in itertools.count())
    found = pool.read(endless, settings, Shared({}, {}), workers=1)
    first = [next(found)[1].nodes[0].title for _ in range(3)]
    found.close()
    assert multiprocessing.active_children() == []
    assert first == ["A", "A", "A"] and next(taken) < 20


def test_what_cannot_be_read_is_named_all_at_once_or_left_out(tmp_path):
    (tmp_path / "a.md").write_text("# A\n\nSome words that are long enough.\n", encoding="utf-8")
    (tmp_path / "b.md").write_bytes(b"\xff\xfe broken")
    (tmp_path / "c.pdf").write_bytes(b"no pdf")
    with pytest.raises(RecipeError, match="2 documents") as error:
        read(tmp_path, workers=1)
    assert "b.md" in str(error.value) and "c.pdf" in str(error.value)
    corpus, ledger = read(tmp_path, workers=1, unreadable="leave out")
    assert len(corpus.nodes) == 1
    assert ledger.totals()["documents"] == {"in": 3, "kept": 1, "dropped": 2, "reasons": {"cannot be read": 2}}
