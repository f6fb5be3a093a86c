"""The arrays of a trained two-layer network, checked and made to fit one another."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

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
    program: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Hidden units h, inputs d, outputs c."""
        return *self.u.shape, len(self.v)

    @property
    def counted(self) -> int:
        """Measure 1: the entries of U, or all the parameters in the program."""
        return self.parameters if self.program else self.u.size

    @property
    def parameters(self) -> int:
        biases = 0 if self.biases is None else sum(b.size for b in self.biases)
        return self.u.size + self.v.size + biases


def check_network(
    u: Any,
    v: Any,
    u0: Any,
    v0: Any,
    x: Any,
    labels: Any,
    outputs: Any,
    biases: Any,
    start_biases: Any,
    program: bool,
) -> TrainedNetwork:
    """The arrays in float64, or ValueError if they do not fit one another."""
    u = _array("u", u, (None, None), "units times inputs")
    h, d = u.shape
    v = _array("v", v, (None, h), "outputs times units of u")
    c = len(v)
    points = np.asarray(x)
    _array("x", points, (None, d), "points times inputs of u", keep=True)
    n = len(points)
    if n < 2:
        raise ValueError(f"x must have at least 2 rows, got {n}; give points.")
    if (biases is None) != (start_biases is None):
        raise ValueError(
            "biases and start_biases must be given both or neither, got one of them; "
            "zeros are biases too."
        )
    return TrainedNetwork(
        u=u,
        v=v,
        u0=_array("u0", u0, (h, d), "the shape of u"),
        v0=_array("v0", v0, (c, h), "the shape of v"),
        x=points,
        labels=None if labels is None else check_labels(labels, n, c),
        outputs=_outputs(outputs, n, c),
        biases=_biases("biases", biases, h, c),
        start_biases=_biases("start_biases", start_biases, h, c),
        program=program,
    )


def check_choices(
    mode: str,
    given: TrainedNetwork,
    fold_biases: bool,
    margin: float | None,
    delta: float,
) -> None:
    """Raise ValueError unless the options are of `capacity_measures` and together."""
    if mode not in ("paper", "code2018"):
        raise ValueError(f"mode must be one of ['paper', 'code2018'], got {mode!r}.")
    if fold_biases and given.program:
        raise ValueError(
            'fold_biases must be False in mode "code2018", whose norms leave biases '
            'out, got True; take mode="paper".'
        )
    if given.biases is not None and not (given.program or fold_biases):
        raise ValueError(
            'biases must be None in mode "paper", whose theorems have none, got them; '
            "pass fold_biases=True to take them as weights of a constant last input "
            'and a constant last hidden unit, or mode="code2018".'
        )
    if margin is not None and not math.isfinite(margin):
        raise ValueError(f"margin must be finite, got {margin}.")
    if not 0 < delta < 1:
        raise ValueError(f"delta must be within (0, 1), got {delta:g}.")


def _array(
    name: str,
    values: Any,
    shape: tuple[int | None, ...],
    meaning: str,
    *,
    keep: bool = False,
) -> np.ndarray:
    array = np.asarray(values) if keep else np.asarray(values, np.float64)
    fits = len(shape) == array.ndim and array.size > 0
    if not fits or any(
        a not in (None, b) for a, b in zip(shape, array.shape, strict=True)
    ):
        expected = ", ".join("any" if a is None else str(a) for a in shape)
        raise ValueError(
            f"{name} must have shape ({expected}), {meaning}, got {array.shape}."
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity.")
    return array


def _outputs(values: Any, n: int, c: int) -> np.ndarray | None:
    if values is None:
        return None
    array = np.asarray(values, np.float64)
    if c == 1 and array.ndim == 1:
        array = array[:, None]
    return _array("outputs", array, (n, c), "points times outputs of v")


def _biases(
    name: str, values: Any, h: int, c: int
) -> tuple[np.ndarray, np.ndarray] | None:
    if values is None:
        return None
    if len(values) != 2:
        raise ValueError(
            f"{name} must be a pair (b, e) of hidden and output biases, got "
            f"{len(values)} arrays."
        )
    hidden = _array(f"{name} b", values[0], (h,), "one a unit of u")
    return hidden, _array(f"{name} e", values[1], (c,), "one an output of v")


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
