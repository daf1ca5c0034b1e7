"""The texts for pre-training: documents read, repaired, cut by quality, and kept apart from published tests."""

import math
import tempfile
from dataclasses import replace
from pathlib import Path

from data_builders.core.read_cache import read_once
from data_builders.core.schema import Node, order
from data_builders.core.text_quality import quality_cut
from data_builders.scilitllm import published
from data_builders.scilitllm.reports import reports, substances, write
from data_builders.sources.reader import count_tokens, read_corpus

DOCUMENTS = "documents"  # the folder of documents where published sets lie beside it


def read(spec, folder, seed, ledger):
    """(substances of the generated world, published examples, nodes)"""
    if spec.source == "generated":
        known = substances(spec.world.substances, seed)
        with tempfile.TemporaryDirectory() as place:
            write(reports(known, spec.world, seed), Path(place))
            return known, [], _nodes(spec, Path(place), ledger)
    found = published.sets_in(folder)
    examples = read_once(lambda _: published.read(folder), folder, ledger, "published sets")
    home = folder / DOCUMENTS if found else folder
    nodes = [] if found and not home.is_dir() else _nodes(spec, home, ledger)
    abstracts = [
        Node(id, id, id.split("-")[0], "", (id,), text, count_tokens(text), id)
        for id, text in published.texts(examples)
    ]
    return [], examples, nodes + abstracts


def _nodes(spec, folder, ledger):
    """The usable nodes of a folder; of a node's family the domain is made: its first folder, or "science"."""
    settings = {"text_field": spec.text_field, "unreadable": spec.unreadable}
    corpus = read_corpus(folder, spec.min_tokens, spec.max_tokens, ledger, **settings)
    return [replace(node, family=_domain(node)) for node in corpus.nodes if not node.flags]


def _domain(node):
    return node.source.split("/")[0] if "/" in node.source else "science"


def cut(spec, entries, seed, path, ledger, bar, say):
    """(texts that stay, what the card tells of the cut)"""
    texts = [(entry["id"], entry["text"]) for entry in entries]
    told = {"by": spec.cut, "texts": len(texts)}
    kept = {id for id, _ in texts}
    if spec.cut == "quality":
        found = quality_cut(spec.quality, texts, seed, path, bar, say)
        kept, told = found.kept, told | found.report | found.spent
    elif spec.cut == "random":
        size = math.ceil(round(len(texts) * spec.quality.share, 6))
        kept = set(sorted(kept, key=lambda id: order(seed, "cut", id))[:size])
    for entry in entries:
        if entry["id"] in kept:
            ledger.keep("cut")
        else:
            ledger.drop("cut", f"not kept by {spec.cut}", entry["id"], entry["text"][:120])
    say(f"cut by {spec.cut}: {len(kept)} of {len(texts)} texts stay")
    return [entry for entry in entries if entry["id"] in kept], told | {"kept": len(kept)}
