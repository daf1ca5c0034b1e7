"""The embedded world's base model: general knowledge, arithmetic and instructions in about five million parameters.

    tables.toml ──► facts.py ─────────┐
    words.txt ────► instructions.py ──┼──► world.py ──► tokenizer.py, build.py ──► model/ ──► score.py ──► README.md
    arithmetic.py ► calculations.py ──┘    documents    pre-training                        lm-eval      the model card

The base never sees what a recipe teaches: its documents are made of its own tables and of bare words. It is a
laboratory, in which the effect of a method can be measured on two CPU cores; no figure from it speaks of a large model.
"""
