"""Deep ReLU networks trained as others would write it: what mfsim is raced against.

Every contender takes a problem, the step and the samples a step, 1 or all, and returns
a function that goes `count` steps from the problem's start. All descend the mean
logistic loss of f(x) = m^(1/2) W_L s(... s(W_1 x)), s the ReLU, in float32.
"""

import functools
import importlib
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from peers import Contender


class Size(NamedTuple):
    """Width, training points, inputs and weight matrices."""

    m: int
    n: int
    d: int = 3072
    depth: int = 5


class Problem(NamedTuple):
    """Data and start of a run."""

    x: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, " n"]
    weights: tuple[Float[np.ndarray, "_ _"], ...]


def problem(size: Size, seed: int = 0) -> Problem:
    """Inputs of unit norm in random order, labels -1 or 1, weights from the prior."""
    m, n, d, depth = size
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.sign(rng.standard_normal(n))
    hidden = [(m, d), *[(m, m)] * (depth - 2)]
    weights = [math.sqrt(2 / m) * rng.standard_normal(shape) for shape in hidden]
    weights.append(rng.standard_normal((1, m)) / math.sqrt(m))
    single = tuple(w.astype(np.float32) for w in weights)
    return Problem(x.astype(np.float32), y.astype(np.float32), single)


def jax_compiled_loop(p: Problem, eta: float, batch: int) -> Contender:
    """jax.grad in one compiled loop, as one writes it first."""
    n, scale = len(p.x), np.float32(math.sqrt(p.weights[-1].size))

    def risk(weights: Sequence[jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
        *hidden, last = weights
        for w in hidden:
            x = jax.nn.relu(x @ w.T)
        return jax.nn.softplus(-y * scale * (x @ last[0])).mean()

    @jax.jit
    def go(weights: Any, x: Any, y: Any, eta: Any, count: int) -> Any:
        def step(k: Any, weights: Any) -> Any:
            rows = [
                jax.lax.dynamic_slice_in_dim(a, k * batch % n, batch) for a in (x, y)
            ]
            gradients = jax.grad(risk)(weights, *rows)
            return jax.tree.map(lambda w, g: w - eta * g, weights, gradients)

        return jax.lax.fori_loop(0, count, step, weights)

    start = tuple(map(jnp.asarray, p.weights))
    return functools.partial(
        go, start, jnp.asarray(p.x), jnp.asarray(p.y), np.float32(eta)
    )


def torch_autograd(p: Problem, eta: float, batch: int) -> Contender:
    """PyTorch eager with autograd and an update in place."""
    torch, risk = _torch_risk(p)

    def step(weights: Sequence[Any], x: Any, y: Any) -> None:
        gradients = torch.autograd.grad(risk(weights, x, y), weights)
        with torch.no_grad():
            for w, gradient in zip(weights, gradients, strict=True):
                w.sub_(gradient, alpha=eta)

    def go(count: int) -> Any:
        weights = [torch.tensor(w, requires_grad=True) for w in p.weights]
        for rows in _torch_batches(torch, p, batch, count):
            step(weights, *rows)
        return [w.detach().numpy() for w in weights]

    return go


def torch_compiled(p: Problem, eta: float, batch: int) -> Contender:
    """The same as one graph by torch.compile: loss, gradient and update."""
    torch, risk = _torch_risk(p)
    gradient_of = torch.func.grad(risk)

    @torch.compile
    def step(weights: Sequence[Any], x: Any, y: Any) -> None:
        for w, gradient in zip(weights, gradient_of(weights, x, y), strict=True):
            w.sub_(gradient, alpha=eta)

    def go(count: int) -> Any:
        weights = [torch.tensor(w) for w in p.weights]
        for rows in _torch_batches(torch, p, batch, count):
            step(weights, *rows)
        return [w.numpy() for w in weights]

    return torch.no_grad()(go)


def has_compiler() -> bool:
    """Whether torch.compile finds a C++ compiler; says so where it does not."""
    found = shutil.which(os.environ.get("CXX", "g++")) is not None
    if not found:
        print("No C++ compiler is installed: torch.compile is skipped.")
    return found


def torch_by_hand(p: Problem, eta: float, batch: int) -> Contender:
    """PyTorch eager with the gradient by hand, its products added to the weights."""
    torch = importlib.import_module("torch")
    scale = math.sqrt(p.weights[-1].size)

    def go(count: int) -> Any:
        *hidden, last = weights = [torch.tensor(w) for w in p.weights]
        for x, y in _torch_batches(torch, p, batch, count):
            outputs = [x]
            for w in hidden:
                outputs.append((outputs[-1] @ w.T).relu_())
            f = scale * (outputs[-1] @ last[0])
            move = (eta * scale / batch) * y * torch.sigmoid(-y * f)
            back = move[:, None] * last
            last.addmm_(move[None], outputs[-1])
            for w, above, below in zip(
                hidden[::-1], outputs[:0:-1], outputs[-2::-1], strict=True
            ):
                back.mul_(above > 0)
                signal = back @ w if below is not x else back
                w.addmm_(back.T, below)
                back = signal
        return [w.numpy() for w in weights]

    return torch.no_grad()(go)


def _torch_risk(p: Problem) -> tuple[Any, Any]:
    torch = importlib.import_module("torch")
    scale = math.sqrt(p.weights[-1].size)

    def risk(weights: Sequence[Any], x: Any, y: Any) -> Any:
        *hidden, last = weights
        for w in hidden:
            x = torch.relu(x @ w.T)
        return torch.nn.functional.softplus(-y * scale * (x @ last[0])).mean()

    return torch, risk


def _torch_batches(torch: Any, p: Problem, batch: int, count: int) -> Iterator[Any]:
    x, y = torch.from_numpy(p.x), torch.from_numpy(p.y)
    for k in range(count):
        rows = slice(k * batch % len(x), k * batch % len(x) + batch)
        yield x[rows], y[rows]
