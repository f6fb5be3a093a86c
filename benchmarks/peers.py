"""Noisy gradient descent as others would write it: what mfsim is raced against.

Every contender takes a problem and the reals of a run, and returns a function that goes
`count` steps from the problem's start. All solve f(x) = (alpha/m) sum_j u_j tanh(w_j.x)
with the mean squared loss and standard normal priors, in float32.
"""

import functools
import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

Contender = Callable[[int], Any]
Params = tuple[Float[Array, "m d"], Float[Array, " m"]]


class Problem(NamedTuple):
    """Data and start of a run."""

    x: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, " n"]
    w: Float[np.ndarray, "m d"]
    u: Float[np.ndarray, " m"]


class Reals(NamedTuple):
    """The reals of a run; `eta` is the step in flow time."""

    alpha: float = 1.0
    temperature: float = 1e-3
    eta: float = 1e-2


def problem(m: int, n: int, d: int, seed: int = 0) -> Problem:
    """Inputs of about unit norm, smooth labels, neurons from the prior."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) / math.sqrt(d)
    y = np.sin(3 * x[:, 0])
    w, u = rng.standard_normal((m, d)), rng.standard_normal(m)
    return Problem(*(a.astype(np.float32) for a in (x, y, w, u)))


def has_torch() -> bool:
    """Whether PyTorch can be raced; says so where it cannot."""
    found = importlib.util.find_spec("torch") is not None
    if not found:
        print("PyTorch is not installed: its contenders are skipped.")
    return found


def _noisy_step(params: Params, data: Params, reals: Reals, key: Key[Array, ""]) -> Any:
    alpha, temperature, eta = reals
    x, y = data
    m = params[1].size

    def risk(params: Params) -> Array:
        w, u = params
        return jnp.square(alpha / m * (jnp.tanh(x @ w.T) @ u) - y).mean()

    def update(theta: Array, gradient: Array, key: Array) -> Array:
        noise = jax.random.normal(key, theta.shape, theta.dtype)
        velocity = -m * gradient - temperature * theta
        return theta + eta * velocity + jnp.sqrt(2 * temperature * eta) * noise

    keys = tuple(jax.random.split(key))
    return jax.tree.map(update, params, jax.grad(risk)(params), keys)


@jax.jit
def _one_step(params: Params, data: Params, reals: Reals, key: Any, k: int) -> Params:
    return _noisy_step(params, data, reals, jax.random.fold_in(key, k))


@jax.jit
def _many_steps(
    params: Params, data: Params, reals: Reals, key: Any, count: int
) -> Params:
    def step(k: Any, params: Params) -> Params:
        return _noisy_step(params, data, reals, jax.random.fold_in(key, k))

    return jax.lax.fori_loop(0, count, step, params)


def _jax_args(p: Problem, reals: Reals, seed: int) -> tuple:
    x, y, w, u = map(jnp.asarray, p)
    return (w, u), (x, y), Reals(*map(jnp.float32, reals)), jax.random.key(seed)


def jax_python_loop(p: Problem, reals: Reals, seed: int = 0) -> Contender:
    """One jitted step with jax.grad and jax.random.normal, a Python loop over steps."""
    start, data, traced, key = _jax_args(p, reals, seed)

    def go(count: int) -> Params:
        params = start
        for k in range(count):
            params = _one_step(params, data, traced, key, k)
        return params

    return go


def jax_compiled_loop(p: Problem, reals: Reals, seed: int = 0) -> Contender:
    """The same step in one compiled loop; no blocks of samples, no fused noise."""
    return functools.partial(_many_steps, *_jax_args(p, reals, seed))


def _torch_arrays(p: Problem, seed: int) -> tuple[Any, list]:
    torch = importlib.import_module("torch")
    torch.manual_seed(seed)
    on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    return torch, [torch.tensor(a, device=device) for a in p]


def _wait(torch: Any, tensor: Any) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()


def torch_by_hand(p: Problem, reals: Reals, seed: int = 0) -> Contender:
    """PyTorch eager with the gradient by hand, in place, in preallocated arrays."""
    torch, (x, y, w0, u0) = _torch_arrays(p, seed)
    alpha, temperature, eta = reals
    n, m = len(x), len(u0)
    hidden, gradient = x.new_empty(n, m), torch.empty_like(w0)
    noise = [torch.empty_like(w0), torch.empty_like(u0)]
    decay, spread = 1 - eta * temperature, math.sqrt(2 * temperature * eta)

    def go(count: int) -> Any:
        w, u = w0.clone(), u0.clone()
        for _ in range(count):
            torch.mm(x, w.t(), out=hidden)
            hidden.tanh_()
            residual = (hidden @ u).mul_(alpha / m).sub_(y).mul_(-2 * alpha / n)
            u_force = residual @ hidden
            hidden.mul_(hidden).neg_().add_(1)
            torch.mm(hidden.t(), x * residual[:, None], out=gradient)
            gradient.mul_(u[:, None])
            for theta, force, xi in ((w, gradient, noise[0]), (u, u_force, noise[1])):
                theta.mul_(decay).add_(force, alpha=eta)
                theta.add_(xi.normal_(), alpha=spread)
        _wait(torch, w)
        return w.cpu().numpy(), u.cpu().numpy()

    return torch.no_grad()(go)


def torch_autograd(p: Problem, reals: Reals, seed: int = 0) -> Contender:
    """PyTorch eager with autograd, as one writes it first."""
    torch, (x, y, w0, u0) = _torch_arrays(p, seed)
    alpha, temperature, eta = reals
    m, spread = len(u0), math.sqrt(2 * temperature * eta)

    def go(count: int) -> Any:
        w, u = w0.clone().requires_grad_(), u0.clone().requires_grad_()
        for _ in range(count):
            risk = (alpha / m * (torch.tanh(x @ w.T) @ u) - y).square().mean()
            gradients = torch.autograd.grad(risk, (w, u))
            with torch.no_grad():
                for theta, gradient in zip((w, u), gradients, strict=True):
                    theta += eta * (-m * gradient - temperature * theta)
                    theta += spread * torch.randn_like(theta)
        _wait(torch, w)
        return w.detach().cpu().numpy(), u.detach().cpu().numpy()

    return go
