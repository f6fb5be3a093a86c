"""What is exact of a density on a grid: one function a theme, with its series."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mfsim.divergences.masses import chi_square
from mfsim.observables.base import Look, Start, train_outputs
from mfsim.series import Series
from mfsim.theory import gibbs_law

KL: dict[str, Series | str] = {
    "kl": Series("nat", "KL", "KL(p_t || p_0)."),
    "fisher_information": Series(
        "nat/parameter^2",
        "I",
        "Relative Fisher information E|grad log(p_t/p_0)|^2: lambda I is the rate at "
        "which diffusion and decay lower KL.",
    ),
    "entropy_production": Series(
        "nat/time", "S", "Rate at which the data raise KL(p_t || p_0)."
    ),
}
FREE_ENERGY: dict[str, Series | str] = {
    "free_energy": Series("loss", "Q", "Training risk + lambda KL(p_t || p_0)."),
    "dissipation": Series("loss/time", "-dQ/dt", "Rate at which Q falls."),
}
CERTIFICATE: dict[str, Series | str] = {
    "dual_energy": Series(
        "loss", "D", "Lower bound on the free energy of every law on the grid."
    ),
    "gap_upper": Series(
        "loss", "Q - D", "How far the free energy is at most from its minimum."
    ),
}
CHI_SQUARE: dict[str, Series | str] = {
    "chi2": Series("1", "chi^2", "chi^2(p_t || p_0).")
}


def kl(look: Look) -> dict[str, Array]:
    """The series of `KL`: of the scheme itself, whose d kl/dt = S - lambda I."""
    flow, masses = look.flow, look.state.params
    dim = masses.ndim - 1
    prior = flow.prior_masses(dim)
    ratio = jnp.log(jnp.where(masses > 0, masses, 1.0) / prior)
    free = (ratio * flow.inflow(masses, flow.prior_potential(dim))).sum()
    whole = (ratio * flow.inflow(masses, look.once(potential))).sum()
    return {
        "kl": flow.kl(masses),
        # 0 - 0 is no -0.
        "fisher_information": 0.0 - free / flow.temperature,
        "entropy_production": whole - free,
    }


def free_energy(look: Look) -> dict[str, Array]:
    """The series of `FreeEnergy`."""
    flow, masses = look.flow, look.state.params
    risk = flow.loss(look.once(train_outputs), look.data.y_train).mean()
    return {
        "free_energy": risk + flow.temperature * flow.kl(masses),
        "dissipation": flow.dissipation(masses, look.once(potential)),
    }


def least_energy(start: Start) -> float | None:
    """The least free energy of all laws on the grid; None if it cannot be found."""
    try:
        return gibbs_law(start.flow, data=start.data).energy
    except ValueError:
        return None


def certificate(look: Look) -> dict[str, Array]:
    """The series of `Certificate`, at the slopes phi'(f) of the present outputs.

    For runs whose `least_energy` is not found. D = -E_S phi*(phi') - lambda log E_p0
    e^{V_0 - V}, the last over the axes that move and then averaged over the others;
    Q - D = lambda KL(p || e^{-V}/Z) is at least 0. Losses are nowhere negative, so that
    0 is a bound as well.
    """
    flow, data = look.flow, look.data
    slopes = flow.loss.derivative(look.once(train_outputs), data.y_train)
    dim = look.state.params.ndim - 1
    axes = tuple(flow.moving_axes(dim))
    tilted, free = (
        jax.scipy.special.logsumexp(-v, axis=axes)
        for v in (look.once(potential), flow.prior_potential(dim))
    )
    frozen = flow.prior_masses(dim).sum(axis=axes)
    log_partition = (frozen * (tilted - free)).sum()
    lower = -flow.loss.conjugate(slopes, data.y_train).mean()
    lower = lower - flow.temperature * log_partition
    lower = jnp.maximum(lower, 0.0)
    gap = free_energy(look)["free_energy"] - lower
    return {"dual_energy": lower, "gap_upper": gap}


def chi2(look: Look) -> dict[str, Array]:
    """The series of `ChiSquare`."""
    masses = look.state.params
    return {"chi2": chi_square(masses, look.flow.prior_masses(masses.ndim - 1))}


def potential(look: Look) -> Float[Array, "..."]:
    """V at the present outputs."""
    flow, data = look.flow, look.data
    slopes = flow.loss.derivative(look.once(train_outputs), data.y_train)
    return flow.potential(slopes, flow.features(data.x_train))


def transport(
    masses: Float[np.ndarray, "..."], flow: Any, blocks: bool
) -> dict[str, float]:
    """W2 from p_0, of the whole law and, with blocks, of those of w and of u alone.

    NaN where the transport does not converge.
    """
    dim = masses.ndim - 1
    found = {"w2": _distance(masses, flow, tuple(range(dim + 1)))}
    if blocks:
        found["w2_w"] = _distance(masses, flow, tuple(range(dim)))
        found["w2_u"] = _distance(masses, flow, (dim,))
    return found


def _distance(
    masses: Float[np.ndarray, "..."], flow: Any, kept: tuple[int, ...]
) -> float:
    """W2 between the marginals on some axes: exact on one, by Sinkhorn on more.

    NaN where that does not converge.
    """
    # Only here: ott takes a second to load.
    from mfsim.divergences.grid_transport import grid_w2, marginal_w2

    others = tuple(axis for axis in range(masses.ndim) if axis not in kept)
    dim = masses.ndim - 1
    prior = np.asarray(flow.prior_masses(dim)).sum(axis=others)
    centres = [np.asarray(flow.centres(dim)[axis]) for axis in kept]
    law = masses.sum(axis=others)
    if len(kept) == 1:
        return marginal_w2(law, prior, centres[0])
    try:
        return grid_w2(law, prior, centres)
    except ValueError:
        return math.nan
