"""The law of infinitely many neurons itself, as masses of the cells of a grid."""

import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from mfsim.component import count, real
from mfsim.datasets import AbstractDataset, Data
from mfsim.divergences.masses import kl_divergence
from mfsim.flows.base import AbstractFlow, Batch, State, check_loss
from mfsim.flows.fluxes import JumpRates, jump_rates, net_inflow
from mfsim.losses import AbstractScalarLoss, SquaredError
from mfsim.networks import Neurons, TwoLayer

MAX_AXES = 3
_SWEEP_ARRAYS = 28
"""Rates, factors and right-hand sides of a step: arrays of the state's size."""
_EDGE = 64
"""One in so many cells of an axis at either end is its boundary; at least one is."""


class DensityFlow(AbstractFlow):
    """d_t p = lambda div(M grad(p/M)) on a grid in theta = (w, u): m = infinity.

    M = e^{-V}, V = V_0 + (alpha/lambda) E_S[phi' u h(w . x)]: the Wasserstein gradient
    flow of Q(p) = E phi(f(p, x), y) + lambda KL(p || p_0), of which `ParticleFlow` is m
    samples. The state is the mass of each cell, on axes (w_1, ..., w_d, u); averages
    over p are sums over the cells' centres.

    Fields:
        network: The two-layer network; its prior is p_0, its width is not used.
        dataset: Where the samples come from, of dimension 1 or 2.
        loss: The loss phi.
        temperature: Strength lambda of diffusion and decay, above 0.
        cells: Cells an axis.
        extent: The box reaches so many prior standard deviations either way, at most
            20, as p_0 underflows beyond.

    Cost: an evaluation takes n cells^d + cells^(d + 1) operations.
    Source: Chen et al. 2020, eq. (3.3).
    """

    dtype: ClassVar[str] = "float64"
    size: ClassVar[str] = "cells"

    network: TwoLayer
    dataset: AbstractDataset
    loss: AbstractScalarLoss = SquaredError()
    temperature: float = real(0.0, at_least=0.0)
    cells: int = count(128, at_least=8, at_most=2**14)
    extent: float = real(6.0, above=0.0, at_most=20.0)

    def __check_init__(self):
        check_loss(self)
        if self.temperature == 0:
            raise ValueError(
                "temperature must be above 0 on a grid, which has no other smoothing, "
                "got 0; take a small one, or ParticleFlow."
            )

    def check(self, data: Data) -> None:
        """Refuse more dimensions than a grid can have.

        Raises:
            ValueError: If d + 1 is above 3.
        """
        dim = data.x_train.shape[1]
        if dim + 1 > MAX_AXES:
            raise ValueError(
                f"dataset must have inputs of dimension at most {MAX_AXES - 1} on a "
                f"grid, got {dim}; set prepare.pca = {MAX_AXES - 1}, or take "
                "ParticleFlow."
            )

    def init(self, key: Key[Array, ""], dim: int, dtype: DTypeLike = float) -> State:
        """p_0 itself: nothing is drawn.

        Raises:
            ValueError: If JAX is in single precision.
        """
        if jnp.zeros((), float).dtype != self.dtype:
            raise ValueError(
                "dtype must be float64 on a grid, and JAX is in float32; work under "
                "jax.enable_x64(True)."
            )
        return State(self.prior_masses(dim).astype(dtype))

    def prior_masses(self, dim: int) -> Float[Array, "..."]:
        """p_0 in the box, by its density at the centres."""
        along = jnp.exp(-jnp.square(self._unit_centres()) / 2)
        return functools.reduce(jnp.multiply.outer, [along / along.sum()] * (dim + 1))

    def law(self, state: State) -> tuple[Neurons, Float[Array, " m"]]:
        """The centres of the cells as neurons, and their masses."""
        axes = self.centres(state.params.ndim - 1)
        *w, u = (a.ravel() for a in jnp.meshgrid(*axes, indexing="ij"))
        return Neurons(jnp.stack(w, axis=1), u), state.params.ravel()

    def centres(self, dim: int) -> list[Float[Array, " cells"]]:
        """The centres of the cells along each axis, u last."""
        unit = self._unit_centres()
        return [std * unit for std in self._axis_std(dim)]

    def widths(self, dim: int) -> list[Any]:
        """The width of a cell along each axis."""
        return [2 * self.extent * std / self.cells for std in self._axis_std(dim)]

    def moving_axes(self, dim: int) -> list[int]:
        """The axes along which mass moves."""
        moves_w, moves_u = self.network.trainable_mask(self.prior_std())
        return [k for k in range(dim + 1) if (moves_u if k == dim else moves_w)]

    def features(self, x: Float[Array, "n d"]) -> Float[Array, "n ..."]:
        """h(w . x_i) at every w of the grid: all that a run needs of the inputs."""
        w = jnp.stack(jnp.meshgrid(*self.centres(x.shape[1])[:-1], indexing="ij"))
        return self.network.activation(jnp.tensordot(x, w.astype(x.dtype), 1))

    def outputs(
        self, masses: Float[Array, "..."], features: Float[Array, "n ..."]
    ) -> Float[Array, " n"]:
        """f(x_i) = alpha E_p[u h(w . x_i)]; linear in the masses."""
        u = self.centres(masses.ndim - 1)[-1]
        return self.network.alpha * jnp.tensordot(features, masses @ u, masses.ndim - 1)

    def prior_potential(self, dim: int) -> Float[Array, "..."]:
        """V_0 = |w|^2/2 sigma_w^2 + u^2/2 sigma_u^2 at the centres."""
        squares = [jnp.square(self._unit_centres()) / 2] * (dim + 1)
        return functools.reduce(jnp.add.outer, squares)

    def potential(
        self, slopes: Float[Array, " n"], features: Float[Array, "n ..."]
    ) -> Float[Array, "..."]:
        """V at the centres, given phi'(f_i, y_i): p ~ e^{-V} would stand still."""
        dim = features.ndim - 1
        scale = self.network.alpha / (self.temperature * slopes.shape[0])
        tilt = scale * jnp.tensordot(slopes, features, 1)
        data = jnp.multiply.outer(tilt, self.centres(dim)[-1])
        return self.prior_potential(dim) + data

    def jump_rates(self, potential: Float[Array, "..."], axis: int) -> JumpRates:
        """Rates of jumps between neighbouring cells along an axis."""
        width = self.widths(potential.ndim - 1)[axis]
        return jump_rates(potential, axis, width, self.temperature)

    def velocity(self, state: State, batch: Batch) -> Float[Array, "..."]:
        """What each cell gains per unit of flow time."""
        features = self.features(batch[0])
        slopes = self.loss.derivative(self.outputs(state.params, features), batch[1])
        return self.inflow(state.params, self.potential(slopes, features))

    def inflow(
        self, masses: Float[Array, "..."], potential: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        """What each cell gains per unit of flow time in a potential."""
        total = jnp.zeros_like(masses)
        for axis in self.moving_axes(masses.ndim - 1):
            rates = self.jump_rates(potential, axis)
            total = total + net_inflow(masses, rates, axis)
        return total

    @property
    def sampling_noise(self) -> float:
        """0: there is no sample."""
        return 0.0

    @property
    def diffusion(self) -> Any:
        return self.temperature

    @property
    def kernel_rate(self) -> Any:
        return self.network.alpha**2

    def prior_std(self) -> Neurons:
        return self.network.prior_std()

    def predict(self, state: State, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        return self.outputs(state.params, self.features(x))

    def kl(self, masses: Float[Array, "..."]) -> Float[Array, ""]:
        """KL(p || p_0) in nats."""
        return kl_divergence(masses, self.prior_masses(masses.ndim - 1))

    def energy(self, state: State, batch: Batch) -> Float[Array, ""]:
        """The free energy Q(p) = E_S phi(f, y) + lambda KL(p || p_0)."""
        risk = self.loss(self.predict(state, batch[0]), batch[1]).mean()
        return risk + self.temperature * self.kl(state.params)

    def mean_potential(self, state: State) -> Float[Array, ""]:
        return (state.params * self.prior_potential(state.params.ndim - 1)).sum()

    def kernel_product(
        self, state: State, x: Float[Array, "n d"], v: Float[Array, " n"]
    ) -> Float[Array, " n"]:
        """H(p) v from the moments of u given w: n cells^d operations."""
        axes = self.centres(x.shape[1])
        w = jnp.stack([a.ravel() for a in jnp.meshgrid(*axes[:-1], indexing="ij")])
        h, slope = self.network.activation.value_and_derivative(x @ w.astype(x.dtype))
        by_w = state.params.reshape(-1, self.cells)
        moves_w, moves_u = self.network.trainable_mask(self.prior_std())
        product = jnp.zeros_like(v)
        if moves_u:
            product = product + h @ (by_w.sum(axis=1) * (v @ h))
        if moves_w:
            pulled = (v[:, None] * x).T @ slope
            pushed = slope @ ((by_w @ jnp.square(axes[-1]))[None, :] * pulled).T
            product = product + (pushed * x).sum(axis=1)
        return product

    def dissipation(
        self, masses: Float[Array, "..."], potential: Float[Array, "..."]
    ) -> Float[Array, ""]:
        """-dQ/dt, as V and log p change along the inflow; per unit of flow time."""
        # Inflows sum to 0, so that the constant of V does not matter.
        chemical = potential + jnp.log(jnp.where(masses > 0, masses, 1.0))
        return -self.temperature * (chemical * self.inflow(masses, potential)).sum()

    def cell_peclet(
        self, masses: Float[Array, "..."], potential: Float[Array, "..."]
    ) -> Float[Array, ""]:
        """Rise of V from cell to cell, root mean square over p, along the worst axis.

        Fluxes are of second order in the cells below 1 and upwind above.
        """
        squares = []
        for axis in self.moving_axes(masses.ndim - 1):
            rise = jnp.square(jnp.diff(potential, axis=axis))
            below = jax.lax.slice_in_dim(masses, 0, self.cells - 1, axis=axis)
            squares.append((below * rise).sum())
        return jnp.sqrt(jnp.max(jnp.stack(squares)))

    def boundary_mass(self, masses: Float[Array, "..."]) -> Float[Array, ""]:
        """Mass in the outermost cells of any axis, 1/64 of them at either end."""
        edge = max(1, self.cells // _EDGE)
        inner = masses[(slice(edge, -edge),) * masses.ndim]
        return masses.sum() - inner.sum()

    def export(self, state: State) -> dict[str, np.ndarray]:
        """The density, whose integral over the box is 1."""
        masses = np.asarray(state.params)
        volume = np.prod([float(w) for w in self.widths(masses.ndim - 1)])
        return {"density": masses / volume}

    def axes(self, dim: int) -> dict[str, np.ndarray]:
        names = [f"w_{k + 1}" for k in range(dim)] + ["u"]
        arrays = (np.asarray(a) for a in self.centres(dim))
        return dict(zip(names, arrays, strict=True))

    def plan(self, data: Data, dtype: DTypeLike) -> dict[str, int]:
        n, d = data.x_train.shape
        return {
            "state": 8 * self.cells ** (d + 1),
            "sweeps": 8 * _SWEEP_ARRAYS * self.cells ** (d + 1),
            "features": 8 * n * self.cells**d,
        }

    def _axis_std(self, dim: int) -> list[Any]:
        return [self.network.input_std] * dim + [self.network.output_std]

    def _unit_centres(self) -> Float[Array, " cells"]:
        """Centres in prior standard deviations."""
        places = (2 * np.arange(self.cells) + 1 - self.cells) / self.cells
        return self.extent * jnp.asarray(places)
