"""What code is made of, by its imports: near and far, inside functions too, and nothing that it does not import."""

from pathlib import Path

from recipes.base.imports import find_code
from recipes.base.places import ROOT

FILES = {
    "app/pages/__init__.py": "",
    "app/pages/one.py": "import json\nfrom app.tools import far, name\nfrom . import two\n",
    "app/pages/two.py": "def draw():\n    import lib.paint.brush\n",
    "app/pages/page.html": "<p>",
    "app/__init__.py": "",
    "app/tools/__init__.py": "name = 1\n",
    "app/tools/far.py": "from app.tools.farther import x\n",
    "app/tools/farther.py": "from app.pages.one import y\n",  # a circle ends
    "app/tools/unused.py": "",
    "app/other.py": "import app.pages.one\n",
    "lib/__init__.py": "",
    "lib/paint/__init__.py": "",
    "lib/paint/brush.py": "",
    "lib/paint/roller.py": "",
}
LEFT_OUT = {"app/tools/unused.py", "app/other.py", "lib/paint/roller.py"}


def write(folder: Path) -> Path:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_the_files_of_a_folder_and_of_all_that_they_import(tmp_path):
    root = write(tmp_path)
    found = find_code(root / "app" / "pages", root)
    assert found == {name: root / name for name in sorted(FILES.keys() - LEFT_OUT)}


def test_one_file_and_what_it_imports(tmp_path):
    root = write(tmp_path)
    assert list(find_code(root / "app" / "pages" / "two.py", root)) == [
        "app/pages/two.py",
        "lib/__init__.py",
        "lib/paint/__init__.py",
        "lib/paint/brush.py",
    ]


def test_the_report_is_made_of_its_folder_and_of_what_it_imports_from_other_packages():
    found = find_code(ROOT / "recipes" / "report")
    assert {"recipes/report/stats.py", "recipes/report/index.html.jinja", "recipes/base/durations.py"} <= found.keys()
    assert {"data_builders/core/ledger.py", "recipes/artifacts/store.py"} <= found.keys()
    assert not any(name.startswith(("recipes/stages/", "recipes/methods/", "eval/")) for name in found)
