"""By how much does a network get its training points right?"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mfsim.theory.capacity.checks import check_wide
from mfsim.theory.capacity.norms import exp, log

PERCENTILE = 5
"""Of the training margins: the gamma of the paper."""


@dataclass(frozen=True)
class MarginLaw:
    """The margins of the training points, f_y - max over others, in short.

    Fields:
        margin: gamma; inf beyond 1e308.
        log_margin: Its log, finite beyond; -inf where it is not positive, NaN where
            there is none.
        ramp_loss: Mean of 1 - mu/gamma within [0, 1]; `train_error` without a gamma.
        train_error: Share of the points with mu <= 0.
        program_margin: Percentile of f_y - max over all, of which none is positive.
    """

    margin: float = math.nan
    log_margin: float = math.nan
    ramp_loss: float = math.nan
    train_error: float = math.nan
    program_margin: float = math.nan


def margin_law(
    outputs: Float[np.ndarray, "n c"],
    log_scale: float,
    labels: Float[np.ndarray, " n"],
    margin: float | None,
) -> MarginLaw:
    """Sum up margins of the outputs times exp(log_scale); the 5th percentile is gamma.

    Labels are class numbers, or -1 and 1 for one output, whose margin is y f.
    """
    margins, slack = _margins(outputs, labels)
    if margin is None:
        scaled = float(np.percentile(margins, PERCENTILE))
        log_margin = log_positive(scaled) + log_scale
        margin = _times(scaled, log_scale)
    else:
        log_margin = log_positive(margin)
        scaled = exp(log_margin - log_scale)
    error = float((margins <= 0).mean())
    ramp = error
    if scaled > 0:
        ramp = float((1 - np.clip(margins, 0, scaled) / scaled).mean())
    program = _times(float(np.percentile(slack, PERCENTILE)), log_scale)
    return MarginLaw(margin, log_margin, ramp, error, program)


def log_positive(margin: float) -> float:
    """The log of a margin, -inf where it is not positive."""
    return float(log(max(margin, 0.0)))


def _times(value: float, log_scale: float) -> float:
    return math.copysign(exp(float(log(abs(value))) + log_scale), value)


def _margins(
    outputs: Float[np.ndarray, "n c"], labels: Float[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray]:
    """Of each point the margin, and how far its output is below the largest of all."""
    if outputs.shape[1] == 1:
        return labels * outputs[:, 0], np.zeros(len(outputs))
    rows, chosen = np.arange(len(outputs)), labels.astype(int)
    right = outputs[rows, chosen]
    slack = right - outputs.max(1)
    others = outputs.copy()
    others[rows, chosen] = -np.inf
    return right - others.max(1), slack


def check_labels(labels: Any, n: int, outputs: int) -> Float[np.ndarray, " n"]:
    """Labels in float64, or ValueError unless of two classes and of these outputs."""
    values = check_wide("labels", labels, (n,), "one a point")
    wrong = np.abs(values) != 1
    legal = "-1 or 1, as the network has one output"
    if outputs > 1:
        wrong = (values != np.round(values)) | (values < 0) | (values >= outputs)
        legal = f"class numbers 0 ... {outputs - 1}, one for each output"
    if wrong.any():
        raise ValueError(
            f"labels must be {legal}, got {values[wrong][0]:g}; relabel, or give None "
            "for the measures without margins."
        )
    if (values == values[0]).all():
        raise ValueError(
            f"labels must be of at least two classes, got {values[0]:g} only; give "
            "points of others."
        )
    return values
