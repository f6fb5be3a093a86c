"""Norms, measures and bounds of trained two-layer networks, against plain NumPy."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfsim.theory import CAPACITY_MEASURES, capacity_measures

DELTA = 0.01
MODES = "paper", "code2018"
# Logarithms of up to 30 are exact to 30 eps, their exponentials to that relative error.
CLOSE = {"rtol": 1e-10, "atol": 0}


def network(h=12, d=7, c=3, n=150, seed=0):
    """Random weights and points; labels are those of the network, so margins are > 0.

    150 points are three batches of the authors' program, the last one shorter.
    """
    draws = np.random.default_rng(seed)
    u, u0 = draws.standard_normal((2, h, d))
    v, v0 = draws.standard_normal((2, c, h))
    x = draws.standard_normal((n, d))
    f = forward(u, v, x)
    labels = f.argmax(1) if c > 1 else np.sign(f[:, 0])
    return u, v, u0, v0, x, labels.astype(float)


def pair_of_biases(h=12, c=3, seed=1):
    draws = np.random.default_rng(seed)
    return tuple((draws.standard_normal(h), draws.standard_normal(c)) for _ in "ab")


def forward(u, v, x, b=0.0, e=0.0):
    return np.maximum(x @ u.T + b, 0) @ v.T + e


def margins(f, labels):
    """f_y - max over others, point by point."""
    if f.shape[1] == 1:
        return labels * f[:, 0]
    rows = zip(f, labels.astype(int), strict=True)
    return np.array([g[y] - np.delete(g, y).max() for g, y in rows])


def spectral(matrix):
    return np.linalg.svd(matrix, compute_uv=False)[0]


def row_norms(matrix):
    return np.sqrt((matrix**2).sum(1))


def norms_of(u, v, u0, v0):
    found = {"u0_spectral": spectral(u0)}
    for name, w, w0 in (("u", u, u0), ("v", v, v0)):
        found |= {
            f"{name}_spectral": spectral(w),
            f"{name}_frobenius": math.sqrt((w**2).sum()),
            f"{name}_l1_max": max(np.abs(row).sum() for row in w),
            f"{name}_distance_frobenius": math.sqrt(((w - w0) ** 2).sum()),
            f"{name}_distance_row_sum": row_norms(w - w0).sum(),
        }
    return found


def table_1(n, h, d):
    """The measures (1) to (6) as printed."""
    return [
        d * h,
        n["u_l1_max"] * n["v_l1_max"],
        n["u_frobenius"] * n["v_frobenius"],
        n["u_spectral"] * n["v_distance_row_sum"]
        + n["u_distance_row_sum"] * n["v_spectral"],
        n["u_spectral"] * n["v_distance_frobenius"]
        + h**0.5 * n["u_distance_frobenius"] * n["v_spectral"],
        n["u0_spectral"] * n["v_frobenius"]
        + n["u_distance_frobenius"] * n["v_frobenius"]
        + h**0.5,
    ]


def program_measures(n, h, c, parameters):
    """What `measures.py` of the authors returns for them."""
    printed = table_1(n, h, 0)
    printed[0] = parameters
    printed[4] += (c**0.5 - 1) * n["u_spectral"] * n["v_distance_frobenius"]
    printed[5] -= h**0.5
    return printed


def capacities(n, x, start, gamma, h, c, parameters, entry, extra, vc):
    """C of the six bounds, with the constants of `measures.py`."""
    N, d = x.shape
    mean = (x**2).sum() / N
    confidence = 3 * math.sqrt(math.log(N / DELTA))
    reach = h + 2 * c
    dim = 2 + vc * math.log2(8 * math.e * reach * math.log2(4 * math.e * reach))
    r_l1 = 16 * c * n["u_l1_max"] * n["v_l1_max"] * math.sqrt(math.log(d)) * entry
    r_fro = 8 * math.sqrt(c * mean) * n["u_frobenius"] * n["v_frobenius"]
    pair = (n["v_spectral"] * n["u_distance_row_sum"]) ** (2 / 3)
    pair += (n["u_spectral"] * n["v_distance_row_sum"]) ** (2 / 3)
    r_21 = 144 * math.log(N) * math.log(2 * parameters) * pair**1.5
    r_21 *= math.sqrt(mean) + N**-0.5
    rest = 4.5 * math.log(1 / DELTA) + math.log(2 * N / gamma)
    rest += 2 * math.log(2 + math.sqrt(N * mean))
    for name in ("distance_frobenius", "spectral"):
        rest += 2 * math.log((2 + 2 * n["u_" + name]) * (2 + 2 * n["v_" + name]))
    largest = max((x**2).sum(1))
    square = h * (n["v_spectral"] * n["u_distance_frobenius"]) ** 2
    square += c * (n["u_spectral"] * n["v_distance_frobenius"]) ** 2
    r_sf = 42 * 8 * extra * math.sqrt(math.log(8 * h) * largest * square / 2)
    r_own = 3 * math.sqrt(2) * (math.sqrt(2 * c) + 1) * (n["v_frobenius"] + 1)
    r_own *= start / N**0.5 + n["u_distance_frobenius"] * mean**0.5 + 1
    union = 5 * h + math.log(max(1, gamma * N**0.5) / DELTA)
    return [
        8 * c * dim * math.log(math.e * max(N / dim, 1)) + 8 * math.log(2 / DELTA),
        (r_l1 / gamma + confidence) ** 2,
        (r_fro / gamma + confidence) ** 2,
        (r_21 / gamma + math.sqrt(rest)) ** 2,
        (r_sf / gamma) ** 2 + 6 * math.log(2 * N / DELTA),
        (r_own / gamma + 3 * math.sqrt(union)) ** 2,
    ]


def ramp(f, labels, gamma):
    return np.clip(1 - margins(f, labels) / gamma, 0, 1).mean()


def compare(found, expected):
    assert {*expected} <= {*found}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, err_msg=name, **CLOSE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize(("h", "d"), [(12, 7), (5, 7)])
def test_norms_are_those_of_numpy(mode, c, h, d):
    u, v, u0, v0, x, labels = network(h, d, c)
    found = capacity_measures(u, v, u0, v0, x, labels, mode=mode)
    alpha, beta = row_norms(v.T), row_norms(u - u0)
    np.testing.assert_allclose(found["unit_capacity"], beta, **CLOSE)
    np.testing.assert_allclose(found["unit_impact"], alpha, **CLOSE)
    free = {"scale_free": alpha @ beta, "x_frobenius": math.sqrt((x**2).sum())}
    compare(found, norms_of(u, v, u0, v0) | free)


@pytest.mark.parametrize("c", [1, 3])
def test_measures_and_bounds_of_the_paper(c):
    h, d = 12, 7
    u, v, u0, v0, x, labels = network(h, d, c)
    f, norms = forward(u, v, x), norms_of(u, v, u0, v0)
    gamma = np.percentile(margins(f, labels), 5)
    assert gamma > 0
    N = len(x)
    loss, start = ramp(f, labels, gamma), math.sqrt(((x @ u0.T) ** 2).sum())
    samples = capacities(
        norms,
        x,
        start,
        gamma,
        h,
        c,
        parameters=h * d + c * h,
        entry=np.abs(x).max(),
        extra=1,
        vc=2 * d * h + c * h,
    )
    found = capacity_measures(u, v, u0, v0, x, labels)
    compare(found, {"margin": gamma, "ramp_loss": loss, "train_error": 0})
    for i, name in enumerate(CAPACITY_MEASURES):
        bound = (loss if i else 0) + math.sqrt(samples[i] / N)
        named = {
            f"measure_{name}": table_1(norms, h, d)[i],
            f"bound_{name}_samples": samples[i],
            f"bound_{name}": bound,
        }
        logs = {f"log_{key}": math.log(value) for key, value in named.items()}
        compare(found, named | logs)
    assert found["notes"][-1].startswith("Vacuous, at least 1 for an error: vc, l1,")


@pytest.mark.parametrize("biases", [False, True])
def test_measures_and_bounds_of_the_program(biases):
    h, d, c = 12, 7, 3
    u, v, u0, v0, x, _ = network()
    (b, e), (b0, e0) = pair_of_biases() if biases else [(np.zeros(12), np.zeros(3))] * 2
    given = {"biases": (b, e), "start_biases": (b0, e0)} if biases else {}
    f, norms = forward(u, v, x, b, e), norms_of(u, v, u0, v0)
    labels = f.argmax(1)
    gamma = np.percentile(margins(f, labels), 5)
    parameters = h * d + c * h + biases * (h + c)
    whole, shares = (d + 1) * h, (h + 1) * c
    tops = [x[i : i + 64].max() ** 2 for i in range(0, 150, 64)]
    samples = capacities(
        norms,
        x,
        np.linalg.norm(np.maximum(x @ u0.T + b0, 0)),
        gamma,
        h,
        c,
        parameters=parameters,
        entry=math.sqrt(sum(tops) / 150),
        extra=norms["u_spectral"],
        vc=parameters * (2 * whole + shares) / (whole + shares),
    )
    found = capacity_measures(u, v, u0, v0, x, labels, mode="code2018", **given)
    printed = program_measures(norms, h, c, parameters)
    for name, measure, capacity in zip(
        CAPACITY_MEASURES, printed, samples, strict=True
    ):
        compare(found, {f"measure_{name}": measure, f"bound_{name}_samples": capacity})
    # Where all points are right their margin is 0, by which it divides.
    assert found["program_margin"] == 0
    compare(found, {"margin": gamma})
    assert any("never positive" in note for note in found["notes"])


def test_the_program_margin_of_wrong_points():
    u, v, u0, v0, x, labels = network()
    labels = (labels + (np.arange(150) < 60)) % 3
    f = forward(u, v, x)
    slack = f[np.arange(150), labels.astype(int)] - f.max(1)
    found = capacity_measures(u, v, u0, v0, x, labels, mode="code2018")
    compare(found, {"program_margin": np.percentile(slack, 5), "train_error": 0.4})


def lower_bounds(u0, alpha, beta, x, c):
    """Unit by unit the two lower bounds, the former by three vectors of the ball."""
    way = np.linalg.svd(x)[2][0] * beta[:, None]
    tried = [np.maximum(x @ u.T, 0) for u in (u0, u0 + way, u0 - way)]
    standing = math.sqrt(c / 2) * np.linalg.norm(tried, axis=1).max(0)
    constant = max(1, math.sqrt(c / x.shape[1])) / math.sqrt(8)
    inner = np.maximum(beta - row_norms(u0), 0)
    return alpha * standing, alpha * constant * inner * np.linalg.norm(x)


@pytest.mark.parametrize(("c", "h", "d"), [(1, 12, 7), (3, 12, 7), (8, 12, 2)])
def test_rademacher_bounds_of_numpy(c, h, d):
    u, v, u0, v0, x, labels = network(h, d, c)
    # Units that move further than they were from 0 have a second lower bound. Inputs
    # with one direction above all have it after a few steps of the power method.
    u0[::2] /= 100
    x[:, 0] *= 20
    found = capacity_measures(u, v, u0, v0, x, labels, margin=0.3)
    alpha, beta = row_norms(v.T), row_norms(u - u0)
    z, size = x @ u0.T, np.linalg.norm(x)
    active, N = np.linalg.norm(np.maximum(z, 0), axis=0), len(x)
    pair = lower_bounds(u0, alpha, beta, x, c)
    printed = alpha @ (beta * size + np.linalg.norm(z, axis=0))
    reach = max(1, math.sqrt(c / d)) / math.sqrt(8)
    named = {
        "rademacher_upper": (2 * math.sqrt(2 * c) + 2) / (0.3 * N) * printed,
        "rademacher_class_upper": c**0.5 / N * (alpha @ (2 * beta * size + active)),
        "rademacher_lower": np.maximum(*pair).sum() / N,
        "rademacher_lower_at_zero": reach * (alpha @ beta) * size / N,
    }
    compare(found, named)
    compare(found, {f"log_{k}": math.log(value) for k, value in named.items()})


def test_the_second_lower_bound_is_of_points_all_around():
    """Of many inputs alike one vector sees a share 1/2d of them, a free one all."""
    u, v, u0, v0, _, _ = network(d=40)
    points = np.concatenate([np.eye(40), -np.eye(40)])
    alpha, beta = row_norms(v.T), row_norms(u)
    found = capacity_measures(u, v, 0 * u0, v0, points, None)
    compare(found, {"rademacher_lower": alpha @ beta * math.sqrt(80 / 8) / 80})
    compare(found, {"rademacher_lower_at_zero": found["rademacher_lower"]})


def test_the_bound_is_above_twice_the_complexity():
    """The union over classes costs sqrt(9/8) of a norm and more: NEY, eqs. (2), (7)."""
    u, v, u0, v0, x, labels = network()
    found = capacity_measures(u, v, u0, v0, x, labels)
    twice = 2 * found["rademacher_upper"]
    cover = 3 / math.sqrt(8)
    assert found["bound_unit_wise"] - found["ramp_loss"] > cover * twice


# Of U -> tU and V -> V/t, the starts alike, which leave f as it is.
INVARIANT = {
    "scale_free",
    "margin",
    "ramp_loss",
    "measure_vc",
    "measure_l1",
    "measure_frobenius",
    "measure_spectral_l21",
    "measure_spectral_frobenius",
    "rademacher_upper",
    "rademacher_class_upper",
    "rademacher_lower",
    "rademacher_lower_at_zero",
    "bound_vc",
    "bound_l1",
    "bound_frobenius",
    "bound_spectral_frobenius",
    "measure_unit_wise",
}
CHANGED = {"bound_spectral_l21", "bound_unit_wise"}


@pytest.mark.parametrize("mode", MODES)
@given(exponent=st.floats(-3, 3).filter(lambda s: abs(s) > 0.5))
def test_what_rebalanced_layers_leave_alone(mode, exponent):
    u, v, u0, v0, x, labels = network(n=20)
    t = 10**exponent
    one = capacity_measures(u, v, u0, v0, x, labels, mode=mode)
    other = capacity_measures(t * u, v / t, t * u0, v0 / t, x, labels, mode=mode)
    program = {"bound_spectral_frobenius"} if mode == "code2018" else set()
    for name in INVARIANT - program:
        assert other[name] == pytest.approx(one[name], rel=1e-10), name
    for name in CHANGED | program:
        assert other[name] != pytest.approx(one[name], rel=1e-9), name
    for name in ("u_frobenius", "u0_spectral", "u_distance_row_sum"):
        assert other[name] == pytest.approx(t * one[name], rel=1e-10)
    np.testing.assert_allclose(
        other["unit_capacity"] / t, one["unit_capacity"], rtol=1e-10
    )
    np.testing.assert_allclose(other["unit_impact"] * t, one["unit_impact"], rtol=1e-10)


def test_rebalancing_unit_by_unit_leaves_the_scale_free_sum_alone():
    u, v, u0, v0, x, labels = network()
    t = 10.0 ** np.linspace(-1, 1, len(u))
    one = capacity_measures(u, v, u0, v0, x, labels)
    t_u = t[:, None]
    other = capacity_measures(t_u * u, v / t, t_u * u0, v0 / t, x, labels)
    same = {name for name in one if name.startswith("rademacher")} | {"scale_free"}
    compare(other, {name: one[name] for name in same | {"margin", "ramp_loss"}})
    for name in INVARIANT - same - {"margin", "ramp_loss", "measure_vc", "bound_vc"}:
        assert other[name] != pytest.approx(one[name], rel=1e-3), name


@pytest.mark.parametrize("t", [1e200, 1e-200])
@pytest.mark.parametrize("mode", MODES)
def test_one_unit_of_another_scale_leaves_the_others_theirs(mode, t):
    u, v, u0, v0, x, labels = network()
    scales = np.ones(12)
    scales[3] = t
    pairs = (u, v, u0, v0), (scales[:, None], 1 / scales) * 2
    layers = [a * b for a, b in zip(*pairs, strict=True)]
    given = {"mode": mode}
    if mode == "code2018":
        (b, e), (b0, e0) = pair_of_biases()
        given["biases"], given["start_biases"] = (b, e), (b0, e0)
        other = given | {"biases": (scales * b, e), "start_biases": (scales * b0, e0)}
    else:
        other = given
    one = capacity_measures(u, v, u0, v0, x, labels, **given)
    found = capacity_measures(*layers, x, labels, **other)
    same = {name for name in one if "rademacher" in name}
    compare(found, {name: one[name] for name in same | {"scale_free", "margin"}})
    np.testing.assert_allclose(found["unit_capacity"], scales * one["unit_capacity"])


def test_units_that_do_nothing_leave_the_margins_of_small_ones():
    u, v, u0, v0, x, _ = network()
    u[0], v[:, 0] = 0, 0
    f = forward(u, v, x)
    labels = f.argmax(1)
    gamma = np.percentile(margins(f, labels), 5)
    found = capacity_measures(*(1e-200 * a for a in (u, v, u0, v0)), x, labels)
    compare(found, {"log_margin": math.log(gamma) - 400 * math.log(10)})
    compare(found, {"ramp_loss": ramp(f, labels, gamma)})


def test_signed_bytes_are_taken_by_their_size():
    u, v, u0, v0, x, labels = network()
    rows = np.clip(np.round(20 * x), -127, 127).astype(np.int8)
    rows[0, 0] = -128
    found = capacity_measures(u, v, u0, v0, rows, labels)
    wide = capacity_measures(u, v, u0, v0, rows.astype(float), labels)
    assert found["bound_l1"] == wide["bound_l1"]
    assert found["rademacher_lower"] == wide["rademacher_lower"]


def test_folded_biases_are_a_network_without():
    u, v, u0, v0, x, _ = network()
    given, start = pair_of_biases()
    f = forward(u, v, x, *given)
    labels = f.argmax(1)
    found = capacity_measures(
        u, v, u0, v0, x, labels, biases=given, start_biases=start, fold_biases=True
    )

    def fold(w, q, biases):
        inner = np.vstack([np.column_stack([w, biases[0]]), np.eye(8)[-1]])
        return inner, np.column_stack([q, biases[1]])

    (big_u, big_v), (big_u0, big_v0) = fold(u, v, given), fold(u0, v0, start)
    big_x = np.column_stack([x, np.ones(150)])
    np.testing.assert_allclose(forward(big_u, big_v, big_x), f, rtol=1e-12, atol=1e-12)
    plain = capacity_measures(big_u, big_v, big_u0, big_v0, big_x, labels)
    assert found["notes"][0].startswith("Biases are folded in")
    assert found["unit_capacity"].shape == (13,)
    assert found["unit_capacity"][-1] == 0
    for name in plain.keys() - {"notes"}:
        np.testing.assert_array_equal(found[name], plain[name], err_msg=name)
    compare(found, {"margin": np.percentile(margins(f, labels), 5)})


def test_outputs_of_another_network_are_its_margins():
    u, v, u0, v0, x, _ = network(c=1)
    f = np.tanh(x @ u.T) @ v.T
    labels = np.sign(f[:, 0])
    given = capacity_measures(u, v, u0, v0, x, labels, outputs=f[:, 0])
    compare(given, {"margin": np.percentile(np.abs(f), 5)})
    bare = inspect.unwrap(capacity_measures)
    listed = bare(u, v, u0, v0, x, labels, outputs=f[:, 0].tolist())
    assert listed["bound_unit_wise"] == given["bound_unit_wise"]
    column = capacity_measures(u, v, u0, v0, x, labels, outputs=f)
    assert column["bound_unit_wise"] == given["bound_unit_wise"]
    assert any("outputs given" in note for note in given["notes"])


def test_without_labels_there_are_measures_alone():
    u, v, u0, v0, x, labels = network()
    found = capacity_measures(u, v, u0, v0, x, None)
    whole = capacity_measures(u, v, u0, v0, x, labels)
    assert found.keys() == whole.keys()
    missing = set()
    for name in found.keys() - {"notes"}:
        if np.isnan(found[name]).any():
            missing.add(name.removeprefix("log_"))
        else:
            np.testing.assert_array_equal(found[name], whole[name])
    # C of the VC dimension knows no margin.
    bounds = {name for name in found if name.startswith("bound_")}
    bounds.remove("bound_vc_samples")
    rest = {"margin", "ramp_loss", "train_error", "program_margin", "rademacher_upper"}
    assert missing == bounds | rest
    assert found["notes"] == ("There are no labels, hence no margin and no bounds.",)


def test_a_margin_given_needs_no_labels():
    u, v, u0, v0, x, labels = network()
    found = capacity_measures(u, v, u0, v0, x, None, margin=0.3)
    whole = capacity_measures(u, v, u0, v0, x, labels, margin=0.3)
    names = {name for name in whole if name.endswith("_samples")}
    for name in names | {"margin", "log_margin", "rademacher_upper"}:
        assert found[name] == whole[name], name
    assert np.isnan([found[f"bound_{name}"] for name in CAPACITY_MEASURES]).all()
    assert found["notes"] == ("There are no labels, hence no bounds.",)


@pytest.mark.parametrize("mode", MODES)
def test_numbers_at_the_edge_of_the_floats_have_logarithms(mode):
    args = network()
    found = capacity_measures(*args, margin=1e-300, mode=mode)
    tiny = capacity_measures(*args, margin=1e-320, mode=mode)
    # 1e-320 is a whole number of the least float, of which it holds some 2000.
    shift = math.log(1e-300) - math.log(1e-320)
    name = "log_rademacher_upper"
    compare(tiny, {name: found[name] + shift, "ramp_loss": found["ramp_loss"]})
    shares = capacity_measures(*args, delta=1e-320, mode=mode)
    root = math.sqrt(shares["bound_frobenius_samples"])
    usual = capacity_measures(*args, mode=mode)
    slope = math.sqrt(usual["bound_frobenius_samples"])
    slope -= 3 * math.sqrt(math.log(150 / DELTA))
    confidence = 3 * math.sqrt(math.log(150) - math.log(1e-320))
    assert root == pytest.approx(slope + confidence, rel=1e-10)
    assert all(math.isfinite(shares[f"bound_{name}"]) for name in CAPACITY_MEASURES)


def test_a_margin_in_single_precision_is_a_margin():
    args = network()
    found = inspect.unwrap(capacity_measures)(*args, margin=np.float32(0.5))
    assert found["bound_l1"] == capacity_measures(*args, margin=0.5)["bound_l1"]


def test_one_input_has_no_bound_by_its_l1_norm():
    found = capacity_measures(*network(d=1))
    # R = 0 by log d: the confidence is all that is left.
    samples = 9 * math.log(150 / DELTA)
    compare(found, {"bound_l1_samples": samples})
    assert found["notes"][0].startswith("bound_l1 has sqrt(log d)")


@pytest.mark.parametrize("mode", MODES)
def test_weights_beyond_the_largest_float_have_logarithms(mode):
    u, v, u0, v0, x, labels = network()
    plain = capacity_measures(u, v, u0, v0, x, labels, mode=mode)
    t = 1e200
    found = capacity_measures(t * u, t * v, t * u0, t * v0, x, labels, mode=mode)
    shift = math.log(t)
    compare(found, {"u_frobenius": t * plain["u_frobenius"]})
    compare(found, {"ramp_loss": plain["ramp_loss"]})
    assert found["measure_frobenius"] == found["margin"] == math.inf
    for name in ("scale_free", "measure_frobenius", "measure_spectral_l21"):
        compare(found, {f"log_{name}": plain[f"log_{name}"] + 2 * shift})
    compare(found, {"log_margin": plain["log_margin"] + 2 * shift})
    compare(found, {"log_rademacher_upper": plain["log_rademacher_upper"]})
    for name in CAPACITY_MEASURES:
        assert math.isfinite(found[f"log_bound_{name}"])
    huge = capacity_measures(t * u, t * v, t * u0, t * v0, x, labels, margin=1.0)
    assert huge["bound_unit_wise"] == huge["bound_frobenius_samples"] == math.inf
    slope = 8 * math.sqrt(3 / 150) * found["x_frobenius"]
    expected = 2 * (math.log(slope) + found["log_measure_frobenius"])
    compare(huge, {"log_bound_frobenius_samples": expected})


def test_weights_below_the_smallest_float_have_logarithms():
    u, v, u0, v0, x, labels = network()
    plain = capacity_measures(u, v, u0, v0, x, labels)
    t = 1e-200
    found = capacity_measures(t * u, t * v, t * u0, t * v0, x, labels)
    assert found["scale_free"] == found["rademacher_lower"] == 0
    names = "scale_free", "margin", "measure_l1", "rademacher_lower"
    for name in (*names, "rademacher_class_upper", "rademacher_lower_at_zero"):
        shifted = plain[f"log_{name}"] + 2 * math.log(t)
        compare(found, {f"log_{name}": shifted})
    compare(found, {"log_rademacher_upper": plain["log_rademacher_upper"]})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("given", [None, 0.0])
def test_a_margin_of_zero_makes_bounds_infinite(mode, given):
    u, v, u0, v0, x, labels = network()
    if given is None:
        v = 0 * v
    found = capacity_measures(u, v, u0, v0, x, labels, mode=mode, margin=given)
    assert found["margin"] == 0
    for name in CAPACITY_MEASURES[1:]:
        assert found[f"bound_{name}"] == found[f"log_bound_{name}"] == math.inf
    assert found["rademacher_upper"] == math.inf
    assert math.isfinite(found["bound_vc"])
    assert found["ramp_loss"] == found["train_error"] == (given is None)
    assert any("margin is 0, not positive" in note for note in found["notes"])


def test_a_network_at_its_start_has_no_capacity():
    u, v, _, _, x, labels = network()
    found = capacity_measures(u, v, u, v, x, labels)
    assert (found["unit_capacity"] == 0).all()
    assert found["scale_free"] == found["measure_spectral_l21"] == 0
    assert found["log_scale_free"] == -math.inf
    assert found["rademacher_lower"] > 0


def test_blocks_of_points_make_no_difference(monkeypatch):
    args = network()
    given, start = pair_of_biases()
    biases = {"biases": given, "start_biases": start, "mode": "code2018"}
    whole = capacity_measures(*args, **biases)
    monkeypatch.setattr("mfsim.theory.capacity.norms._BLOCK_BYTES", 8 * 12 * 7)
    parts = capacity_measures(*args, **biases)
    for name in whole.keys() - {"notes"}:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-12)


def test_points_in_single_precision_are_taken_in_double():
    u, v, u0, v0, x, labels = network()
    rounded = x.astype(np.float32)
    found = capacity_measures(u, v, u0, v0, rounded, labels)
    wide = capacity_measures(u, v, u0, v0, rounded.astype(np.float64), labels)
    assert found["bound_unit_wise"] == wide["bound_unit_wise"]
    assert found["x_frobenius"] == wide["x_frobenius"]


SHAPES = {
    "u": (np.ones((0, 7)), r"u must have shape \(any, any\)"),
    "v": (np.ones((3, 11)), r"v must have shape \(any, 12\), .*, got \(3, 11\)"),
    "u0": (np.ones((12, 6)), r"u0 must have shape \(12, 7\), .*, got \(12, 6\)"),
    "v0": (np.ones((2, 12)), r"v0 must have shape \(3, 12\), .*, got \(2, 12\)"),
    "x": (np.ones((150, 6)), r"x must have shape \(any, 7\), .*, got \(150, 6\)"),
    "labels": (np.zeros(149), r"labels must have shape \(150\), .*, got \(149,\)"),
    "outputs": (np.ones((150, 2)), r"outputs must have shape \(150, 3\)"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_that_do_not_match_are_named(name):
    names = "u", "v", "u0", "v0", "x", "labels"
    args = dict(zip(names, network(), strict=True))
    wrong, message = SHAPES[name]
    with pytest.raises(ValueError, match=f"^{message}"):
        capacity_measures(**args | {name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong", "advice"),
    [
        ("v", np.ones(12), r"v\[None, :\] for a single row"),
        ("v", np.ones((12, 3)), "transpose it"),
        ("x", np.ones(150), r"x\[:, None\] for a single column"),
        ("labels", np.ones((150, 1)), r"labels\[:, 0\]"),
        ("u0", np.ones((11, 7)), "give arrays of one network"),
    ],
)
def test_shapes_that_do_not_match_come_with_advice(name, wrong, advice):
    names = "u", "v", "u0", "v0", "x", "labels"
    args = dict(zip(names, network(d=1 if name == "x" else 7), strict=True))
    with pytest.raises(ValueError, match=rf"^{name} must have shape .*; .*{advice}"):
        inspect.unwrap(capacity_measures)(**args | {name: wrong})


@pytest.mark.parametrize("wrong", [np.nan, -np.inf, 1e308])
@pytest.mark.parametrize("name", ["u", "v", "u0", "v0", "x"])
def test_numbers_that_are_not_finite_are_named(name, wrong):
    names = "u", "v", "u0", "v0", "x", "labels"
    args = dict(zip(names, network(), strict=True))
    args[name][0, 0] = wrong
    message = rf"^{name} must be finite and within \+-1e\+300, got {wrong:g}"
    with pytest.raises(ValueError, match=message.replace("1e+308", r"1e\+308")):
        capacity_measures(**args)


@pytest.mark.parametrize(
    ("wrong", "given"),
    [
        ("weights", "dtype <U7"),
        ([["1", "2"]], "dtype <U1"),
        ([[1.0], [1.0, 2.0]], "rows of different lengths"),
        (np.array([[None]]), "dtype object"),
        (np.ones((2, 2), complex), "dtype complex128"),
    ],
)
@pytest.mark.parametrize("name", ["u", "x", "labels", "outputs"])
def test_what_is_no_array_of_numbers_is_named(name, wrong, given):
    """The bare function, as arguments' types are checked in tests alone."""
    names = "u", "v", "u0", "v0", "x", "labels"
    args = dict(zip(names, network(), strict=True))
    message = f"^{name} must be an array of real numbers, got {given}"
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(capacity_measures)(**args | {name: wrong})


@pytest.mark.parametrize(
    ("c", "first", "message"),
    [
        (3, 0.5, r"class numbers 0 \.\.\. 2, one for each output, got 0\.5"),
        (3, 3.0, r"class numbers 0 \.\.\. 2, one for each output, got 3"),
        (3, -1.0, r"class numbers 0 \.\.\. 2, one for each output, got -1"),
        (1, 0.0, "-1 or 1, as the network has one output, got 0"),
    ],
)
def test_labels_that_are_no_classes_are_named(c, first, message):
    u, v, u0, v0, x, labels = network(c=c)
    labels[0] = first
    with pytest.raises(ValueError, match=f"^labels must be {message}"):
        capacity_measures(u, v, u0, v0, x, labels)


@pytest.mark.parametrize("c", [1, 3])
def test_fewer_than_two_classes_are_refused(c):
    u, v, u0, v0, x, _ = network(c=c)
    message = "labels must be of at least two classes, got 1 only"
    with pytest.raises(ValueError, match=f"^{message}"):
        capacity_measures(u, v, u0, v0, x, np.ones(150))


def test_biases_in_paper_mode_are_refused_with_the_way_out():
    given, start = pair_of_biases()
    message = '^biases must be None in mode "paper".*fold_biases=True.*code2018'
    with pytest.raises(ValueError, match=message):
        capacity_measures(*network(), biases=given, start_biases=start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "code2019"}, r"mode must be one of \['paper', 'code2018'\], got"),
        ({"mode": math.nan}, r"mode must be one of \['paper', 'code2018'\], got nan"),
        ({"mode": "code2018", "fold_biases": True}, "fold_biases must be False"),
        ({"biases": pair_of_biases()[0]}, "biases and start_biases must be given both"),
        (
            {"margin": math.inf},
            "margin must be a finite number, or None for .*, got inf",
        ),
        (
            {"margin": math.nan},
            "margin must be a finite number, or None for .*, got nan",
        ),
        (
            {"margin": 10**400},
            "margin must be a finite number, or None for .*, got 100",
        ),
        ({"margin": True}, "margin must be a finite number, .*, got True"),
        ({"margin": "1"}, "margin must be a finite number, .*, got '1'"),
        ({"delta": 0.0}, r"delta must be a number within \(0, 1\), .*, got 0.0"),
        ({"delta": True}, r"delta must be a number within \(0, 1\), .*, got True"),
        ({"delta": None}, r"delta must be a number within \(0, 1\), .*, got None"),
        ({"biases": 1, "start_biases": 1}, r"biases must be a pair .*, got a int"),
        (
            {"biases": (np.ones(12),), "start_biases": (np.ones(12),)},
            r"biases must be a pair \(b, e\) .*, got a tuple of 1",
        ),
        (
            {"biases": pair_of_biases(h=11)[0], "start_biases": pair_of_biases()[0]},
            r"biases b must have shape \(12\)",
        ),
    ],
)
def test_options_that_are_not_are_named(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        inspect.unwrap(capacity_measures)(*network(), **options)
