"""SMILES strings: whether one is a molecule, by RDKit where it is installed (`pip install rdkit`)."""

import re
from functools import cache
from typing import Any

FORM = re.compile(r"[A-Za-z0-9@+\-\[\]()=#$%/\\.:~*]+")


@cache
def _rdkit() -> Any:
    try:
        from rdkit import Chem, RDLogger  # pyright: ignore[reportMissingImports]  an extra, not of the tests
    except ImportError:
        return None
    RDLogger.DisableLog("rdApp.*")
    return Chem


def checker() -> str:
    """What checks: "rdkit", or "form" where RDKit is not installed and only characters and brackets are looked at."""
    return "rdkit" if _rdkit() else "form"


def is_valid(smiles: str) -> bool:
    """True for a molecule of at least one atom."""
    if not FORM.fullmatch(smiles) or any(smiles.count(a) != smiles.count(b) for a, b in ("()", "[]")):
        return False
    rdkit = _rdkit()
    if rdkit is None:
        return True
    molecule = rdkit.MolFromSmiles(smiles)
    return molecule is not None and molecule.GetNumAtoms() > 0
