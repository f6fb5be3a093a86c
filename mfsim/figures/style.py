"""The look of all figures, and how names, numbers and symbols are written."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib import mathtext
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

# Okabe and Ito's blue and vermilion, told apart with any colour vision.
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--", "markerfacecolor": "white"},
)
"""The first and the second series of a panel."""

_SYMBOLS = {
    "alpha": "alpha",
    "temperature": "lambda",
    "width": "m",
    "num_train": "n",
    "step": "eta",
}
_GREEK = re.compile(r"(?<![\\A-Za-z])(alpha|eta|lambda|mu|tau|theta)(?![A-Za-z])")


def write(figure: Figure, facts: Sequence[str], notes: Sequence[str]) -> None:
    """Write lines above a figure, sentences below it, legends above its panels."""
    left: dict[str, Any] = {"x": 0.01, "horizontalalignment": "left"}
    figure.suptitle("\n".join(facts), fontsize=9.5, **left)
    # Some 15 letters an inch.
    width = int(15 * figure.get_figwidth())
    lines = [line for note in notes for line in textwrap.wrap(note, width)]
    figure.supxlabel("\n".join(lines), fontsize=8.5, color="0.3", **left)
    for axes in figure.axes:
        # Above the axes: whatever the data, nothing of them is covered.
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.98), ncols=3)


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
