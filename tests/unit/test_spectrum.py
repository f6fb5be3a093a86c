"""Spectra of Gram matrices with known eigenvalues, and what makes one singular."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfsim.kernels import spectrum
from mfsim.kernels.gram import EPS
from mfsim.kernels.spectrum import (
    alignment,
    decompose,
    effective_rank,
    extreme_eigenvalues,
    leading_spectrum,
    require_positive,
)

N = 30
functions = pytest.mark.parametrize(
    "function", [decompose, extreme_eigenvalues, effective_rank, require_positive]
)


def rotation(n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


def conjugate(values, seed=0):
    """A symmetric matrix with these eigenvalues, to |K| eps in every entry."""
    q = rotation(len(values), seed)
    kernel = (q * values) @ q.T
    return (kernel + kernel.T) / 2


def points(n=12, d=3, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def arc_cosine(x):
    """2 E[h(w.x) h(w.y)] of Relu for w ~ N(0, I): neither odd nor even."""
    lengths = np.linalg.norm(x, axis=1)
    size = np.outer(lengths, lengths)
    cosine = np.clip(x @ x.T / np.where(size > 0, size, 1), -1, 1)
    angle = np.arccos(cosine)
    np.fill_diagonal(angle, 0)
    return size * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi


def test_decomposition_has_the_known_eigenpairs():
    values = np.geomspace(1e3, 1e-2, N)
    kernel = conjugate(values)
    found = decompose(kernel)
    # Weyl: entries and solver round by some n eps |K| = 7e-12.
    np.testing.assert_allclose(found.values, values, atol=N * EPS * 1e3, rtol=0)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(N), atol=1e-13)
    again = (found.vectors * found.values) @ found.vectors.T
    np.testing.assert_allclose(again, kernel, atol=N * EPS * 1e3)


def test_rank_counts_up_to_rounding_or_a_given_cutoff():
    found = decompose(conjugate(np.r_[np.geomspace(1, 1e-6, 7), np.zeros(N - 7)]))
    assert (found.values >= 0).all()
    assert found.rank() == 7
    assert found.rank(3e-4) == 4
    assert decompose(np.zeros((2, 2))).rank() == 0


def test_label_projections_are_squared_cosines_leading_first():
    q = rotation(4)
    kernel = (q * [4.0, 3.0, 2.0, 1.0]) @ q.T
    labels = 2 * q[:, 0] - q[:, 2]
    shares = decompose(kernel).label_projections(labels)
    np.testing.assert_allclose(shares, [0.8, 0, 0.2, 0], atol=1e-14)


def test_effective_rank_and_alignment_by_hand():
    kernel = np.diag([3.0, 4.0])
    assert effective_rank(kernel) == pytest.approx(49 / 25, rel=1e-15)
    # (3 + 4 * 4)/(5 * 5)
    assert alignment(kernel, np.array([1.0, 2.0])) == pytest.approx(19 / 25, rel=1e-15)
    y = np.array([1, -1, 1, 1])
    assert alignment(np.outer(y, y) * 0.3, y) == pytest.approx(1, rel=1e-15)
    assert effective_rank(5 * np.eye(7)) == pytest.approx(7, rel=1e-15)


@given(
    seed=st.integers(0, 2**20),
    smallest=st.floats(-16, -0.5),
    scale=st.floats(-5, 5),
    limit=st.sampled_from([0, N]),
)
def test_the_error_estimate_covers_the_error(seed, smallest, scale, limit):
    values = 10**scale * np.r_[np.linspace(1, 0.4, N - 1), 10**smallest]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spectrum, "DENSE_LIMIT", limit)
        ends = extreme_eigenvalues(conjugate(values, seed))
    # The product rounds in every entry as a kernel does, by 2 eps |K| at most.
    assert abs(ends.lambda_min - values[-1]) <= ends.error
    assert abs(ends.lambda_max - values[0]) <= ends.error
    # An error that said nothing would cover as well.
    assert ends.error <= 3 * N * EPS * values[0]
    assert (ends.condition_number == math.inf) == (ends.lambda_min <= ends.error)


@pytest.mark.parametrize("values", [np.linspace(1, 9, 60), np.geomspace(1e-9, 50, 60)])
def test_lanczos_finds_what_the_dense_solver_does(values, monkeypatch):
    kernel = conjugate(values)
    dense = extreme_eigenvalues(kernel)
    monkeypatch.setattr(spectrum, "DENSE_LIMIT", 59)
    sparse = extreme_eigenvalues(kernel)
    np.testing.assert_allclose(sparse[:2], dense[:2], rtol=0, atol=dense.error)
    assert sparse.error > dense.error == 60 * EPS * dense.lambda_max
    assert sparse.condition_number == pytest.approx(values[-1] / values[0], rel=1e-3)


@pytest.mark.parametrize("limit", [0, N])
def test_a_singular_kernel_has_no_condition_number(limit, monkeypatch):
    monkeypatch.setattr(spectrum, "DENSE_LIMIT", limit)
    ends = extreme_eigenvalues(conjugate(np.r_[np.zeros(5), np.linspace(1, 2, N - 5)]))
    assert abs(ends.lambda_min) <= ends.error < 1e-13
    assert ends.condition_number == math.inf
    with pytest.raises(ValueError, match="^kernel must be positive semi-definite"):
        extreme_eigenvalues(conjugate(np.r_[-1e-6, np.linspace(1, 2, N - 1)]))


@pytest.mark.parametrize("smallest", [1e-2, 1e-12])
def test_a_positive_kernel_gives_its_factor(smallest):
    # Well conditioned, and beyond the cheap test: n eps = 7e-15 of the largest, but
    # 1/|K^-1|_1 is less than lambda_min.
    kernel = conjugate(np.r_[smallest, np.linspace(1, 2, N - 1)])
    factor = require_positive(kernel)
    np.testing.assert_array_equal(factor, np.tril(factor))
    np.testing.assert_allclose(factor @ factor.T, kernel, atol=1e-14)


def test_between_the_two_estimates_the_eigenvalue_decides():
    # lambda_max = 1, but |K|_1 = 2(1 - 1/n): in the 1-norm 1.5 n eps look like 0.75.
    v = np.ones(N) / math.sqrt(N)
    kernel = np.eye(N) - (1 - 1.5 * N * EPS) * np.outer(v, v)
    factor = require_positive(kernel)
    np.testing.assert_allclose(factor @ factor.T, kernel, atol=1e-15)
    with pytest.raises(ValueError, match="lambda_min"):
        require_positive(np.eye(N) - (1 - 0.2 * N * EPS) * np.outer(v, v))


def test_a_duplicate_is_named():
    x = points()
    x[7] = 3 * x[2]
    for kernel in (x @ x.T, arc_cosine(x)):
        with pytest.raises(ValueError, match="^kernel must .* points 2 and 7 alike"):
            require_positive(kernel)


def test_opposite_points_are_named():
    x = points(4, 5)
    x[3] = -x[1]
    with pytest.raises(ValueError, match="^H must .*points 1 and 3 opposite.*= -sqrt"):
        require_positive(np.tanh(x @ x.T), "H")
    # A kernel that is neither odd nor even tells them apart.
    require_positive(arc_cosine(x))


def test_an_input_of_zero_is_named():
    x = points()
    x[5] = 0
    with pytest.raises(ValueError, match=r"got 0 at \(5, 5\).* point 5"):
        require_positive(arc_cosine(x))


def test_a_null_vector_is_named_where_no_pair_explains():
    # x_0 + x_1 + x_2 = 3 x_9 and the others orthogonal: the null vector weighs 3:1:1:1.
    x = np.eye(10, 13)
    x[9] = x[:3].sum(axis=0) / 3
    with pytest.raises(ValueError, match="^kernel must .* no two points") as caught:
        require_positive(x @ x.T)
    named = str(caught.value).split("on points ")[1].split(" most")[0].split(", ")
    assert (named[0], set(named[1:4])) == ("9", {"0", "1", "2"})


def test_a_negative_eigenvalue_is_told_from_rounding():
    values = np.r_[-1e-15, np.linspace(1, 2, N - 1)]
    assert decompose(conjugate(values)).values[-1] >= 0
    values[0] = -1e-9
    for function in (decompose, extreme_eigenvalues, require_positive):
        with pytest.raises(ValueError, match="^kernel .* lambda_min = -1e-09"):
            function(conjugate(values))


@functions
def test_what_is_no_gram_matrix_is_refused(function):
    with pytest.raises(ValueError, match=r"^kernel must be a square .* \(2, 3\)"):
        function(np.ones((2, 3)))
    with pytest.raises(
        ValueError, match=r"^kernel must be finite, got nan at \(0, 1\)"
    ):
        function(np.array([[1, np.nan], [np.nan, 1]]))
    with pytest.raises(ValueError, match=r"^kernel must be symmetric, got 0.5 at"):
        function(np.array([[1, 0.5], [0.25, 1]]))


def test_what_has_no_direction_is_refused():
    with pytest.raises(ValueError, match="^kernel must not all be 0"):
        effective_rank(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="^labels must not all be 0"):
        alignment(np.eye(3), np.zeros(3))
    with pytest.raises(ValueError, match=r"^labels must be 3 numbers.* \(2,\)"):
        alignment(np.eye(3), np.ones(2))
    with pytest.raises(ValueError, match="^labels must be finite, got inf for point 1"):
        decompose(np.eye(2)).label_projections(np.array([0, np.inf]))


@pytest.mark.parametrize("num", [3, 30])
def test_leading_spectrum_is_part_of_the_whole(num):
    # 3 of 40 come by Lanczos, 30 densely; vectors up to their sign.
    kernel = conjugate(np.geomspace(1, 1e-4, 40))
    whole, part = decompose(kernel), leading_spectrum(kernel, num)
    np.testing.assert_allclose(part.values, whole.values[:num], rtol=1e-10)
    overlaps = np.abs(np.sum(part.vectors * whole.vectors[:, :num], axis=0))
    np.testing.assert_allclose(overlaps, 1, rtol=1e-10)
    labels = np.arange(40.0)
    np.testing.assert_allclose(
        part.label_projections(labels),
        whole.label_projections(labels)[:num],
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("num", [0, 41])
def test_a_number_of_eigenvalues_that_there_are_not_is_refused(num):
    with pytest.raises(
        ValueError, match=f"num must be between 1 and the 40 points, got {num}"
    ):
        leading_spectrum(conjugate(np.ones(40)), num)


def test_leading_spectrum_of_nothing_is_refused():
    with pytest.raises(ValueError, match="kernel must not all be 0"):
        leading_spectrum(np.zeros((100, 100)), 3)


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_ratios_do_not_overflow(size):
    assert effective_rank(size * np.eye(4)) == pytest.approx(4)
    assert alignment(size * np.eye(4), np.ones(4)) == pytest.approx(0.5)
