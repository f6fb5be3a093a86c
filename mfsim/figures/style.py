"""The look of all figures, and how names, numbers and symbols are written."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib import mathtext
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

styled = matplotlib.rc_context(
    {
        "text.usetex": False,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "0.9",
        "legend.fontsize": 9,
        "legend.frameon": False,
        "legend.borderaxespad": 0.1,
        "legend.columnspacing": 1.0,
        "legend.handletextpad": 0.5,
        "lines.markersize": 5,
        "errorbar.capsize": 2.5,
        "savefig.dpi": 200,
    }
)
"""Decorates what draws or saves: the settings hold within."""

# Of Okabe and Ito's colours, told apart with any colour vision; in grey by the marker.
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--", "markerfacecolor": "white"},
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
)
"""The first, second and third series of a panel."""

FULL: dict[str, Any] = {"linestyle": "-", "markerfacecolor": None}
OPEN: dict[str, Any] = {"linestyle": ":", "markerfacecolor": "white"}
"""Two series of one colour."""

POINTS: dict[str, Any] = {
    "color": "#000000",
    "marker": "D",
    "linestyle": "",
    "markerfacecolor": "white",
}
"""What is known at some places only."""

FLOOR: dict[str, Any] = {
    "color": "#000000",
    "marker": "v",
    "linestyle": ":",
    "markerfacecolor": "white",
}
"""What bounds a panel's series from below."""

ITERATE: dict[str, Any] = {"color": "#CC79A7", "marker": "D", "linestyle": ":"}
"""What is drawn at random of all that a run has been."""

EDGE: dict[str, Any] = {
    "color": "#56B4E9",
    "marker": "",
    "linestyle": "-",
    "linewidth": 0.8,
    "zorder": 1,
}
"""An edge of a band."""

_SYMBOLS = {
    "alpha": "alpha",
    "temperature": "lambda",
    "width": "m",
    "active": "m",
    "depth": "L",
    "scale_exponent": "a",
    "num_train": "n",
    "step": "eta",
}
_GREEK = re.compile(r"(?<![\\A-Za-z])(alpha|eta|lambda|mu|tau|theta)(?![A-Za-z])")


def write(
    figure: Figure,
    facts: Sequence[str],
    notes: Sequence[str],
    *,
    is_shared: bool = False,
) -> None:
    """Write lines above a figure, sentences below it, legends above its panels.

    Args:
        figure: The figure, all drawn.
        facts: The lines.
        notes: The sentences.
        is_shared: Whether one legend serves all panels.
    """
    left: dict[str, Any] = {"x": 0.01, "horizontalalignment": "left"}
    # Some 15 letters an inch.
    width = int(15 * figure.get_figwidth())
    lines = [line for note in notes for line in textwrap.wrap(note, width)]
    figure.supxlabel("\n".join(lines), fontsize=8.5, color="0.3", **left)
    above = {"title": "\n".join(facts), "title_fontsize": 9.5, "alignment": "left"}
    if is_shared:
        ncols = int(figure.get_figwidth() / 1.5)
        legend = _entries(figure.axes) | above | {"ncols": ncols}
        figure.legend(loc="outside upper left", **legend)
        return
    figure.suptitle(above["title"], fontsize=9.5, **left)
    for axes in figure.axes:
        # Above the axes: whatever the data, nothing of them is covered.
        if words := (legend := _entries([axes]))["labels"]:
            place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.98)}
            axes.legend(ncols=_columns(words), **place, **legend)


def _columns(words: Sequence[str]) -> int:
    """Of a legend as wide as a panel: a single row where it fits."""
    # A line and its marker are as wide as five letters.
    length = sum(map(len, words)) + 5 * len(words)
    if length < 45:
        return len(words)
    return 3 if length < 75 and len(words) != 4 else 2


def _entries(grid: Sequence[Axes]) -> dict[str, Any]:
    """What a legend of these panels tells, each word once, bands at the end."""
    found = [axes.get_legend_handles_labels() for axes in grid]
    entries = {word: line for own in found for line, word in zip(*own, strict=True)}
    words = sorted(entries, key=lambda word: isinstance(entries[word], PolyCollection))
    return {"handles": [entries[word] for word in words], "labels": words}


def symbol(name: str) -> str:
    """The symbol of a swept or configured quantity, else its name."""
    word = last_word(name)
    return formula(_SYMBOLS[word]) if word in _SYMBOLS else plain(word)


def last_word(path: str) -> str:
    """What a dotted path of the configuration names."""
    return path.rpartition(".")[2]


def number(value: Any) -> str:
    """A number to four digits, below 0.001 as a power of ten; text as it is."""
    if isinstance(value, str | bool):
        return plain(str(value))
    form = ".4g" if not 0 < abs(value) < 1e-3 else ".3e"
    digits, _, power = f"{value:{form}}".partition("e")
    if not power:
        return digits
    return rf"${float(digits):g}\times10^{{{int(power)}}}$".replace(r"$1\times", "$")


def plain(text: str) -> str:
    """Text that starts no formula."""
    return text.replace("_", " ").replace("$", r"\$")


def formula(text: str) -> str:
    """A symbol of the papers in formula type, or plain if it is no formula."""
    found = "$" + _GREEK.sub(r"{\\\1}", text) + "$"
    try:
        mathtext.MathTextParser("path").parse(found)
    except ValueError:
        return plain(text)
    return found
