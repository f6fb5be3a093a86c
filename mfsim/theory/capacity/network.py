"""The arrays of a trained two-layer network, checked and made to fit one another."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mfsim.theory.capacity.checks import (
    check_array,
    check_numbers,
    check_real,
    check_wide,
)
from mfsim.theory.capacity.margin_law import check_labels


@dataclass(frozen=True)
class TrainedNetwork:
    """Arrays in float64 that fit one another, and x in its own dtype."""

    u: np.ndarray
    v: np.ndarray
    u0: np.ndarray
    v0: np.ndarray
    x: np.ndarray
    labels: np.ndarray | None
    outputs: np.ndarray | None
    biases: tuple[np.ndarray, np.ndarray] | None
    start_biases: tuple[np.ndarray, np.ndarray] | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Hidden units h, inputs d, outputs c."""
        return *self.u.shape, len(self.v)

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        biases = 0 if self.biases is None else sum(b.size for b in self.biases)
        return self.u.size + self.v.size + biases


def check_network(
    layers: tuple[Any, Any, Any, Any],
    data: tuple[Any, Any, Any],
    biases: tuple[Any, Any],
) -> TrainedNetwork:
    """The arrays in float64, or ValueError if they do not fit one another.

    Args:
        layers: U, V and those of the start.
        data: The points, the labels or None, the outputs or None.
        biases: Pairs or None, and those of the start.
    """
    u = check_wide("u", layers[0], (None, None), "units times inputs")
    h, d = u.shape
    v = check_wide("v", layers[1], (None, h), "outputs times units of u")
    c = len(v)
    x = check_array("x", data[0], (None, d), "points times inputs of u")
    n = len(x)
    if n < 2:
        raise ValueError(f"x must have at least 2 rows, got {n}; give points.")
    if (biases[0] is None) != (biases[1] is None):
        raise ValueError(
            "biases and start_biases must be given both or neither, got one of them; "
            "zeros are biases too."
        )
    return TrainedNetwork(
        u=u,
        v=v,
        u0=check_wide("u0", layers[2], (h, d), "the shape of u"),
        v0=check_wide("v0", layers[3], (c, h), "the shape of v"),
        x=x,
        labels=None if data[1] is None else check_labels(data[1], n, c),
        outputs=_outputs(data[2], n, c),
        biases=_biases("biases", biases[0], h, c),
        start_biases=_biases("start_biases", biases[1], h, c),
    )


def check_choices(
    mode: Any, has_biases: bool, fold_biases: bool, margin: Any, delta: Any
) -> None:
    """Raise ValueError unless the options are of `capacity_measures` and together."""
    if mode not in ("paper", "code2018"):
        raise ValueError(f"mode must be one of ['paper', 'code2018'], got {mode!r}.")
    if fold_biases and mode == "code2018":
        raise ValueError(
            'fold_biases must be False in mode "code2018", whose norms leave biases '
            'out, got True; take mode="paper".'
        )
    if has_biases and not (mode == "code2018" or fold_biases):
        raise ValueError(
            'biases must be None in mode "paper", whose theorems have none, got them; '
            "pass fold_biases=True to take them as weights of a constant last input "
            'and a constant last hidden unit, or mode="code2018".'
        )
    if margin is not None:
        legal = "a finite number, or None for the 5th percentile of the margins"
        check_real("margin", margin, legal)
    legal = "a number within (0, 1), the probability that a bound fails"
    if not 0 < check_real("delta", delta, legal) < 1:
        raise ValueError(f"delta must be {legal}, got {delta!r}.")


def _outputs(values: Any, n: int, c: int) -> np.ndarray | None:
    if values is None:
        return None
    array = check_numbers("outputs", values)
    if c == 1 and array.ndim == 1:
        array = array[:, None]
    return check_wide("outputs", array, (n, c), "points times outputs of v")


def _biases(
    name: str, values: Any, h: int, c: int
) -> tuple[np.ndarray, np.ndarray] | None:
    if values is None:
        return None
    if not isinstance(values, tuple | list) or len(values) != 2:
        many = f" of {len(values)}" if isinstance(values, tuple | list) else ""
        raise ValueError(
            f"{name} must be a pair (b, e) of hidden and output biases, got a "
            f"{type(values).__name__}{many}."
        )
    hidden = check_wide(f"{name} b", values[0], (h,), "one a unit of u")
    return hidden, check_wide(f"{name} e", values[1], (c,), "one an output of v")


def folded(given: TrainedNetwork) -> TrainedNetwork:
    """Biases as weights of a constant last input and of a constant last hidden unit."""
    if given.biases is None or given.start_biases is None:
        return given
    ones = np.ones(len(given.x), given.x.dtype)
    u, v = _fold_layers(given.u, given.v, given.biases)
    u0, v0 = _fold_layers(given.u0, given.v0, given.start_biases)
    x = np.column_stack([given.x, ones])
    return replace(given, u=u, v=v, u0=u0, v0=v0, x=x, biases=None, start_biases=None)


def _fold_layers(
    u: np.ndarray, v: np.ndarray, biases: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    constant = np.zeros(u.shape[1] + 1)
    constant[-1] = 1
    inner = np.vstack([np.column_stack([u, biases[0]]), constant])
    return inner, np.column_stack([v, biases[1]])
