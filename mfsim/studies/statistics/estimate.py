"""Estimate: a number with its interval, or the reason why there is none."""

from typing import NamedTuple

import numpy as np


class TooFew(ValueError):
    """Points or seeds are too few to say anything."""


class Estimate(NamedTuple):
    """A number with its 95 % interval.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
        warning: What is wrong with it, such as a poor fit; empty if nothing is.
    """

    value: float
    low: float
    high: float
    warning: str = ""


def exponential(logs: Estimate) -> Estimate:
    """The estimate of what this is the logarithm of."""
    value, low, high = (float(np.exp(end)) for end in logs[:3])
    return Estimate(value, low, high, logs.warning)


def joined(*warnings: str) -> str:
    """Those that say something, as one line."""
    return "; ".join(warning for warning in warnings if warning)
