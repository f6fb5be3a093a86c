"""Functionals of mean and covariance that bound divergences from N(0, diag(std^2)).

Each is exact for Gaussian laws. `estimate` takes them at shadow-corrected moments, with
a standard error: the moments of the shadow's law are known, 0 and diag(std^2), and its
sampling error is almost that of the particles, so it is subtracted.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Functional = Callable[[Array, Array], Array]
"""Takes a mean and a covariance."""


class Estimate(NamedTuple):
    """A value and its standard error."""

    value: Float[Array, ""]
    error: Float[Array, ""]


class Pairs(NamedTuple):
    """Particles and their shadow, row by row, in the same coordinates.

    Attributes:
        particles: One particle a row.
        shadow: Its free companion, whose law is N(0, diag(std^2)).
        std: Standard deviations of that law.
        antithetic: Whether rows j and j + m/2 began as one draw and its mirror image.
    """

    particles: Float[Array, "m r"]
    shadow: Float[Array, "m r"]
    std: Float[Array, " r"]
    antithetic: bool

    def whitened(self) -> "Pairs":
        """The same in units of the standard deviations."""
        particles, shadow = (a / self.std[None, :] for a in self[:2])
        return Pairs(particles, shadow, jnp.ones_like(self.std), self.antithetic)

    def first(self, number: int) -> "Pairs":
        """At most so many rows, of an antithetic start as many of each half."""
        rows = len(self.particles)
        if number >= rows:
            return self
        if not self.antithetic:
            return self._replace(
                particles=self.particles[:number], shadow=self.shadow[:number]
            )
        half = number // 2

        def ends(a: Array) -> Array:
            return jnp.concatenate([a[:half], a[rows // 2 : rows // 2 + half]])

        return self._replace(particles=ends(self.particles), shadow=ends(self.shadow))

    def widened(self) -> "Pairs":
        """The same in the widest precision there is."""
        particles, shadow, std = (a.astype(float) for a in self[:3])
        return Pairs(particles, shadow, std, self.antithetic)

    def moments(self) -> tuple[Float[Array, " r"], Float[Array, "r r"]]:
        """Shadow-corrected mean and covariance: mu - mu_s, C - C_s + diag(std^2).

        Source: docs/numerics.md, "Shadow-corrected moments".
        """
        mean, change, total = self._centred()
        cross = change.T @ total / len(total)
        return mean, (cross + cross.T) / 2 + jnp.diag(jnp.square(self.std))

    def _centred(self) -> tuple[Array, Array, Array]:
        """Mean of the difference; centred difference and sum, of which C - C_s is made.

        xx' - ss' = sym (x - s)(x + s)': one product, and no cancellation of squares.
        """
        change, total = self.particles - self.shadow, self.particles + self.shadow
        mean = change.mean(axis=0)
        return mean, change - mean[None, :], total - total.mean(axis=0)[None, :]

    def influence(self, gradient: tuple[Array, Array]) -> Float[Array, " m"]:
        """What each pair adds to a functional of the moments, with mean zero.

        Args:
            gradient: Of the functional, in the mean and in the covariance.
        """
        in_mean, in_covariance = gradient
        symmetric = (in_covariance + in_covariance.T) / 2
        _, change, total = self._centred()
        quadratic = ((change @ symmetric) * total).sum(axis=1)
        return change @ in_mean + quadratic - quadratic.mean()


def estimate(functional: Functional, pairs: Pairs) -> Estimate:
    """A functional at the shadow-corrected moments; its error by the delta method."""
    moments = pairs.moments()
    value, gradient = jax.value_and_grad(functional, argnums=(0, 1))(*moments)
    return Estimate(value, standard_error(pairs.influence(gradient), pairs.antithetic))


def standard_error(influence: Float[Array, " m"], antithetic: bool) -> Float[Array, ""]:
    """Standard error of the mean of terms that are independent from pair to pair."""
    if antithetic:
        influence = influence.reshape(2, -1).mean(axis=0)
    units = influence.shape[0]
    if units < 2:
        return jnp.full((), jnp.nan, influence.dtype)
    return jnp.sqrt(influence.var(ddof=1) / units)


def is_positive(covariance: Float[Array, "r r"]) -> Bool[Array, ""]:
    """Whether a corrected covariance is one: sampling noise may break it."""
    return jnp.linalg.eigvalsh(covariance)[0] > 0


def gaussian_kl(std: Float[Array, " r"]) -> Functional:
    """KL(N(mu, C) || N(0, Lambda)), the supremum of Donsker-Varadhan over quadratics.

    1/2 [tr Lambda^-1 C + mu^T Lambda^-1 mu - r - log det Lambda^-1 C], in nats; a lower
    bound on the KL of any law with these moments. 0 where C is not positive definite.
    """

    def kl(mean: Array, covariance: Array) -> Array:
        white = covariance / jnp.outer(std, std)
        positive = jax.lax.stop_gradient(is_positive(white))
        safe = jnp.where(positive, white, jnp.eye(len(std), dtype=white.dtype))
        excess = jnp.trace(safe) - len(std) - jnp.linalg.slogdet(safe)[1]
        return jnp.where(positive, (excess + jnp.square(mean / std).sum()) / 2, 0.0)

    return kl


def chi_square(std: Float[Array, " r"]) -> Functional:
    """A lower bound on chi^2(p || p_0): |mu|^2 + 1/2 |M - I|_F^2, whitened, M = E zz^T.

    The supremum of (E_p v - E_0 v)^2/Var_0 v over affine-quadratic v.
    """

    def chi2(mean: Array, covariance: Array) -> Array:
        mean, white = mean / std, covariance / jnp.outer(std, std)
        second = white + jnp.outer(mean, mean) - jnp.eye(len(std), dtype=white.dtype)
        return jnp.square(mean).sum() + jnp.square(second).sum() / 2

    return chi2


def gelbrich(std: Float[Array, " r"]) -> Functional:
    """A lower bound on W2^2(p, p_0): that between the Gaussians of the same moments.

    |mu|^2 + tr C + tr Lambda - 2 tr (Lambda^1/2 C Lambda^1/2)^1/2; 0 where C is not
    positive definite.

    Source: Gelbrich 1990, "On a formula for the L2 Wasserstein metric".
    """

    def squared(mean: Array, covariance: Array) -> Array:
        product = covariance * jnp.outer(std, std)
        values = jnp.linalg.eigvalsh(product)
        positive = values[0] > 0
        roots = jnp.sqrt(jnp.where(positive, values, 1.0))
        traces = jnp.trace(covariance) + jnp.square(std).sum()
        bound = jnp.square(mean).sum() + traces - 2 * roots.sum()
        return jnp.where(positive, bound, 0.0)

    return squared


def affine_fisher(std: Float[Array, " r"], moves: Bool[Array, " r"]) -> Functional:
    """A lower bound I_psi on E|grad log(p/p_0)|^2 over the coordinates that move.

    With psi the best affine field, Lambda^-1 theta - C^-1 (theta - mu), it is
    tr Lambda^-1 C Lambda^-1 - 2 tr Lambda^-1 + tr C^-1 + |Lambda^-1 mu|^2, each trace
    over what moves. 0 where C is not positive definite.
    """

    def fisher(mean: Array, covariance: Array) -> Array:
        eye = jnp.eye(len(std), dtype=covariance.dtype)
        positive = jax.lax.stop_gradient(is_positive(covariance))
        safe = jnp.where(positive, covariance, eye)
        factor = jnp.linalg.cholesky(safe)
        precision = jax.scipy.linalg.cho_solve((factor, True), eye)
        scale = jnp.square(std)
        spread = jnp.diag(safe) + jnp.square(mean)
        terms = spread / jnp.square(scale) - 2 / scale + jnp.diag(precision)
        total = jnp.where(moves, terms, 0.0).sum()
        return jnp.where(positive, total, 0.0)

    return fisher
