"""Where things lie that more than one package reads."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # recipes.toml, data_builders/ and eval/ lie beside recipes/
LAB_MODEL = ROOT / "recipes" / "lab" / "model"  # the folder that the model name "embedded" stands for
GENERAL_TRAIN = LAB_MODEL / "general_train.jsonl"  # rows of general ability in the embedded model's world
GENERAL_TEST = LAB_MODEL / "general_test.jsonl"
