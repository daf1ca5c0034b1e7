"""The embedded world's base model: general knowledge, arithmetic and instructions in about five million parameters.

    tables.toml words.txt ──► world.py (documents) ──► build.py (tokenizer, pre-training, model card) ──► model/

The base never sees what a recipe teaches: `world.py` draws from its own tables and from bare words. It is a laboratory, in which the
effect of a method can be measured on two CPU cores; no figure from it speaks of a large model.
"""
