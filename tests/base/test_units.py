"""One table of units, for finding quantities and for grading them."""

import re

import pytest

from eval.graders.quantity import matches, read_quantities
from recipes.base.units import unit_pattern


def same(stated, gold):
    return matches(read_quantities(stated)[0], read_quantities(gold)[0], 0.01)


@pytest.mark.parametrize(
    ("stated", "gold"),
    [
        *(("0.45 kN", "450 N"), ("2.1 MPa", "21 bar"), ("90 min", "1.5 h"), ("1450 rpm", "24.17 Hz")),
        *(("100 km/h", "27.8 m/s"), ("60 litres", "0.06 m³"), ("3 N·m", "3 Nm"), ("2 days", "48 hours")),
        *(("1.5 t", "1500 kg"), ("1 kWh", "3.6 MJ"), ("12 centimeters", "0.12 m"), ("30 psi", "2.07 bar")),
    ],
)
def test_the_graders_convert_units_of_every_field(stated, gold):
    assert same(stated, gold) and same(gold, stated)


@pytest.mark.parametrize(
    ("stated", "gold"), [("450 kg", "450 N"), ("6 bar", "6 Pa"), ("5 h", "5 min"), ("450", "450 N")]
)
def test_another_unit_or_none_is_another_quantity(stated, gold):
    assert not same(stated, gold)


@pytest.mark.parametrize("stated", ["5 hours", "5 litres", "5 apples", "5 T", "5"])
def test_behind_a_plain_number_the_unit_of_a_count_may_stand(stated):
    assert same(stated, "5")


@pytest.mark.parametrize(
    "unit", ["N", "Pa", "kg", "bar", "rpm", "hours", "litres", "K", "%", "µm", "mA/V", "km/h", "GB"]
)
def test_the_pattern_knows_the_unit_whole(unit):
    assert re.fullmatch(unit_pattern(), unit)
