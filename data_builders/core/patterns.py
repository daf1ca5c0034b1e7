"""Patterns of bad text, which any builder may refuse, and the words of a text."""

import re

# Control characters but tab, new line and CR LF are what became of something else, as of the commands of LaTeX.
GARBLED = re.compile(r"[\\$\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|\[…\]|@\w|[{}]|~~|\]\(")
SOURCE = re.compile(
    r"\b(?:according to|based on|stated in|mentioned in) (?:the|this) (?:passage|context|excerpt|document|material)"
    r"|\b(?:the|this) (?:passage|excerpt|author|(?:given|provided) (?:context|material|information))\b",
    re.I,
)
ASSISTANT = re.compile(
    r"\bas an ai\b|\blanguage model\b|\bi(?:'m| am) (?:sorry|unable)\b|\bi (?:cannot|can't) (?:answer|help|assist)\b"
    r"|\bhere is (?:the|your|a) (?:question|answer)\b",
    re.I,
)
BOOK = re.compile(
    r"\b(?:fig(?:ure|s?\.)|tab(?:le|\.)|equations?|eqs?\.|sections?|chapters?|listing|appendix)\s*[(\[]?\d"
    r"|\((?:\d+\.)+\d+\)"
    r"|\b(?:the|this|that|these|next|previous|following|last|preceding|below|above)\s+(?:figures?(?! of merit)|tables?"
    r"|listings?|sections?|chapters?|equations?|text|paragraph|lecture|course|book|appendix|exercises?|note)\b"
    r"|\b(?:this|that|these|next|previous|following|preceding|below|above)"
    r"\s+(?:plots?|graphs?|diagrams?|schematics?|notebooks?)\b"
    r"|\b(?:shown|seen|given|mentioned|discussed|described|listed|introduced|noted|explained)"
    r"\s+(?:above|below|earlier|before)\b"
    r"|\b(?:above|below)\s+(?:equation|figure|plot|result|circuit)|\bas\s+(?:above|below)\b"
    r"|\bsee\s+(?:above|below|also|the)\b",
    re.I,
)


def words(text):
    """Lower-case words, numbers and names of a text, without punctuation."""
    return re.findall(r"[^\W_]+(?:\.\d+)?", text.casefold())
