"""The image view of a signal, and pictures as files of a data artefact."""

import hashlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from data_builders.core.schema import image_name, store_image, write_rows
from data_builders.vsllava import image
from data_builders.vsllava.features import amplitudes
from data_builders.vsllava.image import SIDE, draw, illustrated
from data_builders.vsllava.signals import METRIC
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl
from recipes.base.places import ROOT
from recipes.base.rows import GradedRow, SftRow

pytestmark = pytest.mark.slow

FS = 2048
SECOND = np.arange(FS) / FS


def tone(frequency, amplitude=2.0):
    return (amplitude * np.sin(2 * np.pi * frequency * SECOND)).astype(np.float32)


def row(number, **lineage):
    lineage |= {"unit": METRIC} if lineage else {}
    return SftRow(id=str(number), kind="type", question=f"question {number}", node_id="node", lineage=lineage)


def pixels(content):
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.slow
def test_a_signal_gives_the_same_bytes_again_whatever_was_drawn_before_and_in_another_process():
    first = draw(tone(50), FS)
    draw(tone(70), FS)
    draw(tone(50), FS, panels=("waveform", "envelope"))
    assert draw(tone(50), FS) == first != draw(tone(50.5), FS)
    assert draw(tone(50), FS, "units") != first
    code = "import hashlib; from tests.data_builders.test_image_view import *; "
    code += "print(hashlib.sha256(draw(tone(50), FS)).hexdigest())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert other.strip() == hashlib.sha256(first).hexdigest()


def test_every_picture_has_the_one_size_and_room_for_labels_beside_its_panels():
    seen = pixels(draw(tone(50), FS))
    assert seen.shape == (SIDE, SIDE)
    assert (seen[:, :80] < 128).any() and (seen[-30:] < 128).any()  # ticks of amplitude, and the last axis' name
    assert pixels(draw(tone(50), FS, panels=("spectrum",))).shape == (SIDE, SIDE)


@pytest.mark.parametrize("panel, wanted", [("spectrum", 300.0), ("envelope", 20.0)])
def test_the_curve_of_a_panel_peaks_where_the_signal_does(panel, wanted):
    across, up, end, bottom, top = image._curve(panel, tone(300) * (1 + 0.5 * np.sin(2 * np.pi * 20 * SECOND)), FS)
    assert across[up.argmax()] == wanted < end and bottom == 0 and top > up.max()


def test_a_sine_reads_its_amplitude():
    assert amplitudes(tone(100, 3.0)).max() == pytest.approx(3.0, rel=1e-3)


@pytest.mark.parametrize(("unit", "said"), [(METRIC, "(m/s²)"), ("units", "(units)")])
def test_amplitude_axes_say_what_the_samples_are_in(unit, said):
    draw(tone(50), FS, unit)
    assert all(axes.get_ylabel().endswith(said) for axes in image._figure(image.PANELS, unit).axes)


def test_silence_can_be_drawn():
    assert pixels(draw(np.zeros(256), FS)).shape == (SIDE, SIDE)


def test_rows_show_their_signals_and_stay_otherwise_as_they_were(tmp_path):
    signals = {"a": tone(50), "b": tone(90), "unused": None}
    rows = [row(1, signal="a", fs=FS), row(2), row(3, signal="b", fs=FS), row(4, signal="a", fs=FS)]
    told = []
    shown = illustrated(rows, signals, tmp_path, advance=told.append)
    assert [len(each.images) for each in shown] == [1, 0, 1, 1] and sum(told) == 4
    assert shown[0].images == shown[3].images != shown[2].images
    assert [(each.id, each.messages) for each in shown] == [(each.id, each.messages) for each in rows]
    assert sorted(file.name for file in (tmp_path / "images").iterdir()) == sorted(
        name.removeprefix("images/") for each in shown for name in set(each.images) if each.id in "13"
    )
    assert (tmp_path / shown[0].images[0]).read_bytes() == draw(tone(50), FS)


def test_a_row_that_names_an_unknown_signal_is_an_error(tmp_path):
    with pytest.raises(RecipeError, match="not there"):
        illustrated([row(1, signal="c", fs=FS)], {}, tmp_path)


def test_a_picture_has_the_name_of_its_content_and_is_written_once(tmp_path):
    name = store_image(tmp_path, b"one")
    assert name == image_name(b"one") == f"images/{hashlib.sha256(b'one').hexdigest()[:16]}.png"
    assert store_image(tmp_path, b"one") == name != store_image(tmp_path, b"two")
    assert len(list((tmp_path / "images").iterdir())) == 2


def test_only_rows_with_pictures_have_the_key(tmp_path):
    graded = GradedRow(kind="k", question="q", answer="a", grader="text", images=("images/x.png",))
    write_rows(tmp_path / "rows.jsonl", [row(1), graded])
    text, seen = read_jsonl(tmp_path / "rows.jsonl")
    assert "images" not in text and seen["images"] == ["images/x.png"]


def test_without_the_extra_the_error_names_it_and_the_other_views_load_no_picture_package(monkeypatch):
    image._figure.cache_clear()
    monkeypatch.setattr(image, "find_spec", lambda package: None)
    with pytest.raises(RecipeError, match=r"-e '.\[vlm\]'"):
        draw(tone(50), FS)
    code = (
        "import sys, json, data_builders.vsllava.builder; "
        "print(json.dumps([name for name in ('PIL', 'matplotlib', 'torchvision') if name in sys.modules]))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert json.loads(printed) == []
