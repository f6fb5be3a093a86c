"""Exactly solvable flows, written out in NumPy and independent of the package.

`GaussianFlow` is the identity activation, whose law stays Gaussian; `FrozenFlow` moves
one block only, so that its outputs obey a linear equation; `ornstein_uhlenbeck` and
`euler_variance` are the free particles. `run_members` runs the particles themselves.
"""

from dataclasses import dataclass

import jax
import numpy as np
from scipy.integrate import solve_ivp


@dataclass(frozen=True)
class GaussianFlow:
    """p_t = N(0, C(t)) on theta = (w, u): squared loss, f(x) = alpha C_uw . x.

    dC/dt = AC + CA^T + 2 lambda I with A = B - lambda diag(std)^-2, where
    B = -alpha (0 q; q^T 0) is the force and q = mean of phi'(f_i, y_i) x_i.
    """

    x: np.ndarray
    y: np.ndarray
    alpha: float
    temperature: float
    input_std: float
    output_std: float

    @property
    def std(self):
        return np.append(np.full(self.x.shape[1], self.input_std), self.output_std)

    def outputs(self, c):
        return self.alpha * self.x @ c[:-1, -1]

    def risk(self, c):
        return np.mean((self.outputs(c) - self.y) ** 2)

    def kernel(self, c):
        return c[-1, -1] * self.x @ self.x.T + self.x @ c[:-1, :-1] @ self.x.T

    def kl(self, c):
        """KL(N(0, C) || p_0) in nats."""
        m = c / np.outer(self.std, self.std)
        return 0.5 * (np.trace(m) - len(m) - np.linalg.slogdet(m)[1])

    def force(self, c):
        """B, the matrix of the data part of the drift."""
        q = 2 * (self.outputs(c) - self.y) @ self.x / len(self.y)
        b = np.zeros_like(c)
        b[:-1, -1] = b[-1, :-1] = -self.alpha * q
        return b

    def covariance(self, times, start=None):
        """C at the given times, to about 1e-11."""
        start = np.diag(self.std**2) if start is None else start
        diffusion = 2 * self.temperature * np.eye(len(start))

        def rate(_, flat):
            c = flat.reshape(start.shape)
            a = self.force(c) - np.diag(self.temperature / self.std**2)
            return (a @ c + c @ a.T + diffusion).ravel()

        tight = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-13}
        span = (0, max(times))
        solution = solve_ivp(rate, span, start.ravel(), t_eval=times, **tight)
        return solution.y.T.reshape(-1, *start.shape)

    def chain(self, coefficients, steps, start=None):
        """C after `steps` steps of theta <- decay theta + gain force + spread noise."""
        decay, gain, spread = coefficients
        c = np.diag(self.std**2) if start is None else start
        for _ in range(steps):
            g = np.diag(decay) + gain[:, None] * self.force(c)
            c = g @ c @ g.T + np.diag(spread**2)
        return c

    def coefficients(self, kind, step):
        """(decay, gain, spread) of the two integrators, coordinate by coordinate."""
        a = self.temperature * step / self.std**2
        if kind == "NoisyGD" or self.temperature == 0:
            spread = np.full_like(a, np.sqrt(2 * self.temperature * step))
            return 1 - a, np.full_like(a, step), spread
        gain, variance = -step * np.expm1(-a) / a, -np.expm1(-2 * a)
        return np.exp(-a), gain, self.std * np.sqrt(variance)


@dataclass(frozen=True)
class FrozenFlow:
    """One block of neurons moves and the other is frozen: the kernel is constant.

    With beta' = -(2 alpha/n)(f - y) - (lambda/std^2) beta and f = alpha H beta, the
    mean over the noise of the outputs of m particles that start at f = 0 is f; their
    covariance is that of a linear equation with noise 2 lambda alpha^2 H/m.
    """

    kernel: np.ndarray
    y: np.ndarray
    alpha: float
    temperature: float
    std: float

    def __post_init__(self):
        kappa, modes = np.linalg.eigh(self.kernel)
        object.__setattr__(self, "kappa", kappa)
        object.__setattr__(self, "modes", modes)

    @property
    def rates(self):
        """Decay rate of every mode of the outputs."""
        data = 2 * self.alpha**2 * self.kappa / len(self.y)
        return data + self.temperature / self.std**2

    def beta(self, t):
        push = 2 * self.alpha / len(self.y) * self.modes.T @ self.y
        return self.modes @ (push * -np.expm1(-self.rates * t) / self.rates)

    def outputs(self, t):
        return self.alpha * self.kernel @ self.beta(t)

    def variances(self, t, width):
        """Variance of every mode of the outputs of `width` particles."""
        noise = 2 * self.temperature * self.alpha**2 * self.kappa / width
        return noise * -np.expm1(-2 * self.rates * t) / (2 * self.rates)

    def ridge(self):
        """The outputs at t = infinity: kernel ridge regression."""
        ridge = self.temperature * len(self.y) / (2 * self.std**2 * self.alpha**2)
        return self.kernel @ np.linalg.solve(
            self.kernel + ridge * np.eye(len(self.y)), self.y
        )

    def kl(self, t):
        """KL(p_t || p_0) in nats."""
        beta = self.beta(t)
        return beta @ self.kernel @ beta / (2 * self.std**2)


def ornstein_uhlenbeck(temperature, std, t, start):
    """Factor of the mean, and variance, at time t under -lambda x/std^2 and noise."""
    decay = np.exp(-temperature * t / std**2)
    return decay, std**2 + (start - std**2) * decay**2


def euler_variance(temperature, std, step, steps, start):
    """The same after Euler steps: its stationary variance is std^2/(1 - a/2)."""
    a = temperature * step / std**2
    decay, limit = (1 - a) ** steps, std**2 / (1 - a / 2)
    return decay, limit + (start - limit) * decay**2


def run_members(integrator, flow, batch, states, keys, stops):
    """The neurons of an ensemble, one member a key, at the steps `stops`."""

    def advance(carry, key, steps):
        return integrator.advance(flow, batch, carry, steps, key)

    advance = jax.jit(jax.vmap(advance, in_axes=(0, 0, None)))
    carry = jax.vmap(lambda state: integrator.init(flow, state))(states)
    reached = []
    for steps in np.diff([0, *stops]):
        carry = advance(carry, keys, int(steps))
        reached.append(carry.state.params)
    return reached
