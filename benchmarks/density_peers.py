"""The Ornstein-Uhlenbeck law on a grid, as others would compute it.

d_t p = lambda div(grad p + p grad V_0), V_0 = x^2/2 s_x^2 + y^2/2 s_y^2: what mfsim's
flow is without data. A Gaussian stays one, so that the error of every solver is known.
Each peer takes a `Problem` and returns what goes to t = 1 by a number of steps, or by a
tolerance, and gives the density there. All but `Operators` use the same exponentially
fitted (Scharfetter-Gummel) fluxes, so that they differ in time only.
"""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from scipy.linalg import get_lapack_funcs, solve_banded
from scipy.sparse.linalg import splu
from scipy.special import exprel

Density = Float[np.ndarray, "x y"]
Solve = Callable[[float], Density]
Matrix = Float[np.ndarray, "3 cells"]
LineSolve = Callable[[Density], Density]


class Problem(NamedTuple):
    """A Gaussian, shifted, narrower and tilted, on its way to N(0, diag(std^2)).

    Attributes:
        cells: Cells an axis.
        extent: The box reaches so many of `std` either way.
        std: Standard deviations s_x, s_y of the stationary law.
        temperature: lambda.
        mean: Mean at t = 0.
        covariance: Covariance at t = 0.
    """

    cells: int = 256
    extent: float = 6.0
    std: tuple[float, float] = (1.0, 1.0)
    temperature: float = 1.0
    mean: tuple[float, float] = (1.0, -0.8)
    covariance: tuple[tuple[float, float], ...] = ((0.49, 0.196), (0.196, 0.49))

    @property
    def widths(self) -> Float[np.ndarray, "2"]:
        """Width of a cell along each axis."""
        return 2 * self.extent * np.array(self.std) / self.cells

    @property
    def centres(self) -> Float[np.ndarray, "2 cells"]:
        """Centres of the cells along each axis."""
        return np.outer(self.widths, np.arange(self.cells) + 0.5 - self.cells / 2)

    @property
    def stable_steps(self) -> float:
        """Explicit Euler needs more steps than this to t = 1."""
        return 2 * self.temperature * (self.widths**-2.0).sum()

    def law(self, t: float) -> Density:
        """The exact density at the centres."""
        prior = np.diag(np.square(self.std))
        decay = np.diag(np.exp(-self.temperature * t / np.square(self.std)))
        mean = decay @ self.mean
        covariance = prior + decay @ (self.covariance - prior) @ decay
        theta = np.stack(np.meshgrid(*self.centres, indexing="ij"), axis=-1) - mean
        precision = np.linalg.inv(covariance)
        exponent = np.einsum("...i,ij,...j->...", theta, precision, theta) / 2
        return np.exp(-exponent) * np.sqrt(np.linalg.det(precision)) / (2 * np.pi)

    def error(self, density: Density) -> float:
        """L1 distance to the exact law at t = 1."""
        return float(abs(density - self.law(1.0)).sum() * self.widths.prod())

    def jump_rates(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Rates up and down between neighbouring cells: lambda/h^2 B(+-dV)."""
        rise = np.diff(np.square(self.centres[axis] / self.std[axis])) / 2
        scale = self.temperature / self.widths[axis] ** 2
        return scale / exprel(rise), scale / exprel(-rise)

    def generator(self, axis: int) -> Matrix:
        """Bands above, on and below the diagonal of d_t p = A p along an axis."""
        up, down = self.jump_rates(axis)
        leaves = np.append(up, 0) + np.append(0, down)
        return np.stack([np.append(0, down), -leaves, np.append(up, 0)])


def splu_crank_nicolson(problem: Problem, keep_factors: bool = False) -> Solve:
    """Crank-Nicolson by a sparse LU, made once a run, or once for all runs."""
    along = [
        sp.dia_array((problem.generator(axis)[::-1], (-1, 0, 1)), 2 * (problem.cells,))
        for axis in range(2)
    ]
    generator = sp.kronsum(along[1], along[0], format="csc")
    one = sp.eye_array(problem.cells**2, format="csc")
    start = problem.law(0.0)

    def factors(steps: int) -> Any:
        # The pattern is symmetric and the diagonal dominates its columns: this order
        # without pivoting has half of the default's fill.
        return splu(
            one - generator / (2 * steps),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    made = functools.cache(factors) if keep_factors else factors

    def solve(steps: float) -> Density:
        lu = made(int(steps))
        p = start.ravel()
        for _ in range(int(steps)):
            p = 2 * lu.solve(p) - p
        return p.reshape(start.shape)

    return solve


def solve_banded_lines(matrix: Matrix, potential: Density) -> LineSolve:
    """All lines as one tridiagonal system, by scipy.linalg.solve_banded."""
    bands = np.tile(matrix, (1, potential.shape[0]))

    def solve(p: Density) -> Density:
        x = solve_banded((1, 1), bands, p.ravel(), check_finite=False)
        return x.reshape(p.shape)

    return solve


def pttrs_lines(matrix: Matrix, potential: Density) -> LineSolve:
    """The same made symmetric by e^{V/2}, its Cholesky factors made once."""
    root = np.exp(-potential / 2)
    off = np.append(-np.sqrt(matrix[0, 1:] * matrix[2, :-1]), 0)
    tiled = [np.tile(band, len(root)) for band in (matrix[1], off)]
    factorise, solve_factored = get_lapack_funcs(("pttrf", "pttrs"), tiled)
    diagonal, off, _ = factorise(tiled[0], tiled[1][:-1])

    def solve(p: Density) -> Density:
        x = solve_factored(diagonal, off, (p / root).ravel())[0]
        return x.reshape(p.shape) * root

    return solve


def peaceman_rachford(
    problem: Problem, lines: Callable[[Matrix, Density], LineSolve]
) -> Solve:
    """ADI: every half of a step implicit along one axis, explicit along the other.

    Lines are solved as if each had a matrix of its own, as in a potential of data.
    """
    start = problem.law(0.0)
    square = np.square(problem.centres / np.array(problem.std)[:, None]) / 2
    potential = square[0][:, None] + square[1]

    def solve(steps: float) -> Density:
        half = 0.5 / steps
        one = np.array([[0.0], [1.0], [0.0]])
        matrices = [one - half * problem.generator(axis) for axis in range(2)]
        implicit_x = lines(matrices[0], potential.T)
        implicit_y = lines(matrices[1], potential)
        # (1 + a)(1 - a)^{-1} = 2 (1 - a)^{-1} - 1 joins the halves of two steps.
        p = _explicit_half(problem, start, half)
        for step in range(int(steps)):
            across = np.ascontiguousarray(p.T)
            p = np.ascontiguousarray((2 * implicit_x(across) - across).T)
            last = step == int(steps) - 1
            p = implicit_y(p) if last else 2 * implicit_y(p) - p
        return p

    return solve


def _explicit_half(problem: Problem, p: Density, half: float) -> Density:
    above, here, below = half * problem.generator(1)
    moved = p * (1 + here)
    moved[:, :-1] += p[:, 1:] * above[1:]
    moved[:, 1:] += p[:, :-1] * below[:-1]
    return moved


def has_py_pde() -> bool:
    """Whether py-pde can be raced; says so where it cannot."""
    found = all(importlib.util.find_spec(name) for name in ("pde", "numba"))
    if not found:
        print("py-pde is not installed: its contenders are skipped.")
    return found


def py_pde_operators(problem: Problem) -> Any:
    """The equation by py-pde's operators, compiled by numba, as its manual has it."""
    pde = importlib.import_module("pde")
    precision = np.square(problem.std) ** -1.0
    temperature, source = problem.temperature, precision.sum()

    class Operators(pde.PDEBase):
        def evolution_rate(self, state: Any, t: float = 0) -> Any:
            raise NotImplementedError

        def make_evolution_rate(self, state: Any, backend: Any) -> Callable:
            options = {"bc": {"value": 0}, "backend": backend}
            laplace = state.grid.make_operator("laplace", **options)
            gradient = state.grid.make_operator("gradient", **options)
            slope = precision * np.asarray(state.grid.cell_coords)
            slope_x, slope_y = (np.ascontiguousarray(slope[..., k]) for k in range(2))

            def rate(p: Any, t: float = 0) -> Any:
                to = gradient(p)
                drift = slope_x * to[0] + slope_y * to[1] + source * p
                return temperature * (laplace(p) + drift)

            return rate

    return Operators()


def py_pde_fitted(problem: Problem) -> Any:
    """The fitted fluxes as one loop by hand: py-pde steps, numba or JAX compiles."""
    pde = importlib.import_module("pde")
    bands = [problem.generator(axis) for axis in range(2)]

    class Fitted(pde.PDEBase):
        def evolution_rate(self, state: Any, t: float = 0) -> Any:
            raise NotImplementedError

        def make_evolution_rate(self, state: Any, backend: Any) -> Callable:
            make = _jax_stencil if backend.name == "jax" else _numba_stencil
            return make(*bands)

    return Fitted()


def _jax_stencil(along_x: Matrix, along_y: Matrix) -> Callable:
    x_above, x_here, x_below = jnp.asarray(along_x)[:, :, None]
    y_above, y_here, y_below = jnp.asarray(along_y)
    here = x_here + y_here
    # Bands are by column: what a cell gets is in those of its neighbours.
    x_above, y_above = (jnp.roll(band, -1, 0) for band in (x_above, y_above))
    x_below, y_below = (jnp.roll(band, 1, 0) for band in (x_below, y_below))

    def rate(p: Any, t: float = 0) -> Any:
        q = jnp.pad(p, 1)
        from_x = x_above * q[2:, 1:-1] + x_below * q[:-2, 1:-1]
        from_y = y_above * q[1:-1, 2:] + y_below * q[1:-1, :-2]
        return here * p + from_x + from_y

    return rate


def _numba_stencil(along_x: Matrix, along_y: Matrix) -> Callable:
    numba = importlib.import_module("numba")
    (x_above, x_here, x_below), (y_above, y_here, y_below) = along_x, along_y
    last = along_x.shape[1] - 1

    @numba.njit(fastmath=True)
    def kernel(p: Any) -> Any:
        rate = np.empty_like(p)
        for i in range(last + 1):
            a, b = max(i - 1, 0), min(i + 1, last)
            above = x_above[b] if i < last else 0.0
            below = x_below[a] if i > 0 else 0.0
            for j in range(1, last):
                rate[i, j] = (
                    (x_here[i] + y_here[j]) * p[i, j]
                    + above * p[b, j]
                    + below * p[a, j]
                    + y_above[j + 1] * p[i, j + 1]
                    + y_below[j - 1] * p[i, j - 1]
                )
            for j, k, band in ((0, 1, y_above), (last, last - 1, y_below)):
                rate[i, j] = (x_here[i] + y_here[j]) * p[i, j] + band[k] * p[i, k]
                rate[i, j] += above * p[b, j] + below * p[a, j]
        return rate

    return lambda p, t=0: kernel(p)


def _by_py_pde(problem: Problem, make: Callable[..., tuple[Any, Any]]) -> Solve:
    """What `make` makes of py-pde's solvers and a setting: a solver and its step."""
    pde = importlib.import_module("pde")
    solvers = importlib.import_module("pde.solvers")
    reach = problem.extent * np.array(problem.std)
    grid = pde.CartesianGrid([(-r, r) for r in reach], problem.cells)
    start = problem.law(0.0)

    @functools.cache
    def stepper(setting: float) -> Callable:
        # `PDEBase.solve` would compile anew in every call.
        solver, step = make(solvers, setting)
        return solver.make_stepper(pde.ScalarField(grid, start), dt=step)

    def solve(setting: float) -> Density:
        field = pde.ScalarField(grid, start)
        stepper(setting)(field, 0.0, 1.0)
        return field.data

    return solve


def py_pde_euler(problem: Problem, equation: Any, backend: str) -> Solve:
    """Explicit Euler, which py-pde compiles whole; by its number of steps.

    `problem.stable_steps` bounds them from below, and errors are small from there on.
    """

    def make(solvers: Any, steps: float) -> tuple[Any, float]:
        return solvers.EulerSolver(equation, backend=backend), 1 / steps

    return _by_py_pde(problem, make)


def py_pde_crank_nicolson(problem: Problem, equation: Any) -> Solve:
    """py-pde's best implicit solver; its fixed-point iteration is no less bounded."""

    def make(solvers: Any, steps: float) -> tuple[Any, float]:
        solver = solvers.CrankNicolsonSolver(equation, backend="numba")
        return solver, 1 / steps

    return _by_py_pde(problem, make)


def py_pde_scipy(problem: Problem, equation: Any, **options: Any) -> Solve:
    """py-pde's scipy stepper, by its absolute tolerance."""

    def make(solvers: Any, tolerance: float) -> tuple[Any, None]:
        given = options | {"atol": tolerance}
        return solvers.ScipySolver(equation, backend="numba", **given), None

    return _by_py_pde(problem, make)
