"""The page: one HTML file that opens anywhere, without a network."""

import base64
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from scipy import stats

from mfsim.report.numbers import interval, shown
from mfsim.report.sections import ComparisonSection, StudySection

SCRIPTS = ("charts.js", "explorer.js", "report.js")


def render(
    title: str,
    studies: Sequence[StudySection],
    comparison: ComparisonSection | None,
    skipped: Sequence[str],
) -> str:
    """The page as text.

    Args:
        title: Of the page.
        studies: Sections, in order.
        comparison: Runs that belong to no study.
        skipped: One line a file that was left out.
    """
    explorers = [data for section in studies for data in section.explorers]
    explorers += comparison.explorers if comparison else ()
    data = {
        "charts": [figure.data for study in studies for figure in study.figures],
        "explorers": explorers,
        "student": [round(float(q), 4) for q in stats.t.ppf(0.975, range(1, 41))],
    }
    verdicts = [v for study in studies for v in study.record.findings.verdicts]
    return _template().render(
        title=title,
        studies=studies,
        comparison=comparison,
        skipped=skipped,
        counts=Counter(verdict.word for verdict in verdicts),
        css=_packaged("report.css"),
        scripts=[_packaged(name) for name in SCRIPTS],
        plotly=_plotly(),
        data=embedded(data),
    )


def embedded(data: Any) -> str:
    """Data as JSON, packed."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _packed(text)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mfsim.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": shown, "interval": interval}
    return environment.get_template("report.html.j2")


def _packaged(name: str) -> str:
    return (resources.files("mfsim.report") / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    """plotly.js, packed: 2 MB instead of 5."""
    from plotly.offline import get_plotlyjs

    return _packed(get_plotlyjs())


def _packed(text: str) -> str:
    """Gzip and base64, which the page inflates; nothing in it can end an element."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
