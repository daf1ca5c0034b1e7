"""SMILES strings: whether one is a molecule, by RDKit where it is installed (`pip install rdkit`)."""

import re
from functools import cache

FORM = re.compile(r"[A-Za-z0-9@+\-\[\]()=#$%/\\.:~*]+")


@cache
def _rdkit():
    try:
        from rdkit import Chem, RDLogger
    except ImportError:
        return None
    RDLogger.DisableLog("rdApp.*")
    return Chem


def checker():
    """What checks: "rdkit", or "form" where RDKit is not installed and only characters and brackets are looked at."""
    return "rdkit" if _rdkit() else "form"


def is_valid(smiles):
    """True for a molecule of at least one atom."""
    if not FORM.fullmatch(smiles) or any(smiles.count(a) != smiles.count(b) for a, b in ("()", "[]")):
        return False
    if _rdkit() is None:
        return True
    molecule = _rdkit().MolFromSmiles(smiles)
    return molecule is not None and molecule.GetNumAtoms() > 0
