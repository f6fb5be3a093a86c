"""Information criteria: which of some fitted curves to believe."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mfsim.studies.statistics.estimate import TooFew


class InformationCriteria(NamedTuple):
    """Criteria of one fit; the least among fits to the same values is the best.

    Attributes:
        aic: Akaike's.
        aicc: Akaike's, corrected for few points.
        bic: Schwarz's, the Bayesian one.
    """

    aic: float
    aicc: float
    bic: float


def information_criteria(
    y: Float[np.ndarray, " points"],
    fitted: Float[np.ndarray, " points"],
    num_params: int,
) -> InformationCriteria:
    r"""Criteria of a fit with Gaussian residuals of one unknown variance.

    With $R = \sum_i (y_i - \hat y_i)^2$ of n points and k parameters, the variance
    among them, the greatest log-likelihood is $\ell = -\frac n2 (\log(2\pi R/n) + 1)$,

    $$AIC = 2k - 2\ell, \quad AICc = AIC + \frac{2k(k+1)}{n-k-1}, \quad
    BIC = k \log n - 2\ell.$$

    Residuals below rounding count as rounding, so that a perfect fit has a number.

    Args:
        y: Values.
        fitted: What the curve says.
        num_params: Parameters of the curve; the variance comes on top.

    Raises:
        TooFew: If points are fewer than parameters + 3.
        ValueError: If `fitted` is not of the shape of `y`.

    Source: Burnham and Anderson, Model Selection and Multimodel Inference, 2002, §2.2
    and §2.4; Schwarz, Ann. Stat. 6, 1978, 461, for BIC.
    """
    y, fitted = np.asarray(y, dtype=float), np.asarray(fitted, dtype=float)
    if y.shape != fitted.shape or y.ndim != 1:
        raise ValueError(
            f"fitted must be of the shape (points,) of y, got {fitted.shape} and "
            f"{y.shape}."
        )
    n, k = len(y), num_params + 1
    if n < k + 2:
        raise TooFew(
            f"points must be {k + 2} or more to judge {num_params} parameters, got {n}"
        )
    rounding = (np.finfo(float).eps * np.abs(y).max()) ** 2
    variance = max(np.mean((y - fitted) ** 2), rounding, np.finfo(float).tiny)
    minus_two_l = n * (np.log(2 * np.pi * variance) + 1)
    aic = minus_two_l + 2 * k
    return InformationCriteria(
        float(aic),
        float(aic + 2 * k * (k + 1) / (n - k - 1)),
        float(minus_two_l + k * np.log(n)),
    )


def akaike_weights(aics: Sequence[float]) -> Float[np.ndarray, " fits"]:
    r"""$w_i \propto e^{-(AIC_i - \min AIC)/2}$: the share of each fit, adding up to 1.

    Source: Burnham and Anderson, 2002, §2.9.
    """
    values = np.asarray(aics, dtype=float)
    weights = np.exp(-(values - values.min()) / 2)
    return weights / weights.sum()
