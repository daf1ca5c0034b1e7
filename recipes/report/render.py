"""The page templates. Everything that an HTML template inserts is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from recipes.report import charts, formats

FILTERS = (
    formats.percent,
    formats.points,
    formats.signed,
    formats.span,
    formats.signed_span,
    formats.p_value,
    formats.duration,
    formats.size,
    formats.number,
    formats.date,
    formats.cut,
    formats.cell,
    formats.one_line,
)


def render(template: str, **values: Any) -> str:
    """Render one of the templates beside this module."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {f.__name__: f for f in FILTERS}
    drawn = (
        charts.bar,
        charts.funnel_bar,
        charts.heat_map,
        charts.histogram,
        charts.interval_bar,
        charts.line_chart,
        charts.scatter,
    )
    environment.globals |= {chart.__name__: chart for chart in drawn}
    return environment.get_template(template).render(**values)
