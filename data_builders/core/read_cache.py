"""What was read from a folder, kept while the process lasts: a forecast and the build after it read a corpus once."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

from data_builders.core.ledger import Ledger
from recipes.base.hashing import files_under

KEPT = 4  # contents in memory: what rows are made from, and running text
Content = TypeVar("Content")
_known: OrderedDict[Hashable, tuple[Any, Ledger]] = OrderedDict()


def read_once(
    read: Callable[[Ledger], Content], folder: Path, ledger: Ledger, name: str, settings: Hashable = ()
) -> Content:
    """What `read(ledger)` makes of a folder (or file) under these settings; the ledger has its entries either way.

    It is read again where the content of any file has changed. `name` is the reader's. What is returned is shared: it
    is not to be changed. Errors are raised as they come and are not kept.
    """
    key = (name, str(Path(folder).resolve()), digest_folder(folder), settings)
    if key not in _known:
        entries = Ledger()
        _known[key] = read(entries), entries
        while len(_known) > KEPT:
            _known.popitem(last=False)
    _known.move_to_end(key)
    content, entries = _known[key]
    ledger.add(entries)
    return content


def digest_folder(folder: Path) -> str:
    """SHA-256 (hex) of the names and the bytes of all files under a folder, or of one file.

    A file that cannot be read counts with the reason: that it cannot is for its reader to say.
    """
    whole = hashlib.sha256()
    for name, file in files_under(folder).items():
        try:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            content = str(error)
        whole.update(f"{name}\0{content}\n".encode())
    return whole.hexdigest()
