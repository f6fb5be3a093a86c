"""Two-layer networks as interacting particles theta_j = (w_j, u_j)."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from mfsim.activations import AbstractActivation, Tanh
from mfsim.component import count, real, static
from mfsim.networks.base import AbstractNetwork


class Neurons(NamedTuple):
    """The particles: input weights w and output weights u, one row a neuron."""

    w: Float[Array, "m d"]
    u: Float[Array, " m"]


class TwoLayer(AbstractNetwork):
    """f(x) = (alpha/m) sum_j u_j h(w_j . x): m neurons at scale alpha.

    The start is the prior p_0 = N(0, input_std^2 I) x N(0, output_std^2), one draw a
    neuron. With `antithetic` the second half repeats the first with -u, so that the
    network starts at f = 0 while its law is still p_0.

    Fields:
        width: Number of neurons m; even where antithetic. Densities do not use it.
        alpha: Scale alpha, 1 in the mean-field and sqrt(m) in the kernel regime.
        activation: The function h.
        trainable: Which blocks move: "both", "output" (random features) or "input".
        input_std, output_std: Prior standard deviations sigma_w and sigma_u.
        antithetic: Whether neurons start in pairs (w, u), (w, -u).

    Source: Chen et al. 2020, eqs. (3.1) and (3.2); pairs as in Chizat et al. 2019.
    """

    width: int = count(1024)
    alpha: float = real(1.0, above=0.0)
    activation: AbstractActivation = Tanh()
    trainable: Literal["both", "output", "input"] = static("both")
    input_std: float = real(1.0, above=0.0)
    output_std: float = real(1.0, above=0.0)
    antithetic: bool = static(True)

    def __check_init__(self):
        if self.antithetic and self.width % 2:
            raise ValueError(
                f"width must be even for an antithetic start, got {self.width}; "
                "take an even width or antithetic = false."
            )

    def init(self, key: Key[Array, ""], dim: int, dtype: DTypeLike = float) -> Neurons:
        """Draw the neurons from p_0; the same for every alpha."""
        drawn = self.width // 2 if self.antithetic else self.width
        w_key, u_key = jax.random.split(key)
        w = self.input_std * jax.random.normal(w_key, (drawn, dim), dtype)
        u = self.output_std * jax.random.normal(u_key, (drawn,), dtype)
        if not self.antithetic:
            return Neurons(w, u)
        return Neurons(jnp.concatenate([w, w]), jnp.concatenate([u, -u]))

    def __call__(self, params: Neurons, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        w, u = params
        return self.alpha / self.width * (self.activation(x @ w.T) @ u)

    def generator(self, params: Neurons, x: Float[Array, "n d"]) -> Float[Array, "n m"]:
        """A F_i at every neuron, F_i = u h(w . x_i).

        A = Laplacian - grad V_0 . grad over the blocks that move, the generator of the
        free particle: AF = u (|x|^2 h'' - z h'/sigma_w^2 - h/sigma_u^2), z = w . x.
        """
        w, u = params
        moves_w, moves_u = self.trainable_mask(params)
        z = x @ w.T
        h, slope = self.activation.value_and_derivative(z)
        total = jnp.zeros_like(z)
        if moves_w:
            bend = self.activation.second_derivative(z)
            size = jnp.square(x).sum(axis=1, keepdims=True)
            total = total + size * bend - z * slope / self.input_std**2
        if moves_u:
            total = total - h / self.output_std**2
        return u[None, :] * total

    @property
    def kernel_scale(self) -> Any:
        """m/alpha^2, so that the kernel is a mean over the neurons."""
        return self.width / self.alpha**2

    def trainable_mask(self, params: Neurons) -> Neurons:
        moves_w, moves_u = self.trainable != "output", self.trainable != "input"
        return Neurons(moves_w, moves_u)  # type: ignore[arg-type]

    def prior_std(self) -> Neurons:
        """The standard deviations (sigma_w, sigma_u) of p_0, block by block."""
        return Neurons(self.input_std, self.output_std)  # type: ignore[arg-type]
