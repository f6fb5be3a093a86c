"""Entropy from nearest neighbours, and the relative entropy it gives."""

import numpy as np
from jaxtyping import Float
from sklearn.neighbors import NearestNeighbors

_TREE_DIM = 4
"""Up to this dimension a k-d tree is faster than all pairs at any size; measured."""


def log_distances(
    points: Float[np.ndarray, "k D"], neighbours: int
) -> Float[np.ndarray, " k"]:
    """The log of each point's distance to its `neighbours`-th nearest other point.

    Args:
        points: One point a row.
        neighbours: Which neighbour: 1 is the nearest.

    Returns:
        One number a point; -inf where the point has that many duplicates.

    Raises:
        ValueError: If there are too few points.

    Cost: O(k log k) time up to four dimensions, O(k^2 D) by blocks above; memory O(k).
    k = 4096 takes 0.01 s (D = 3), 0.03 s (D = 11), 0.4 s (D = 785) on two idle cores.
    """
    if not 1 <= neighbours < len(points):
        raise ValueError(
            f"neighbours must be from 1 to {len(points) - 1}, one less than the "
            f"number of points, got {neighbours}."
        )
    algorithm = "kd_tree" if points.shape[1] <= _TREE_DIM else "brute"
    search = NearestNeighbors(n_neighbors=neighbours, algorithm=algorithm).fit(points)
    nearest = np.asarray(search.kneighbors(return_distance=False))[:, -1]
    # Brute force takes |x|^2 + |y|^2 - 2 x.y, which rounds away small distances.
    distances = np.linalg.norm(points - points[nearest], axis=1)
    with np.errstate(divide="ignore"):
        return np.log(distances)


def kl_terms(
    points: Float[np.ndarray, "k D"],
    reference: Float[np.ndarray, "k D"],
    neighbours: int,
) -> Float[np.ndarray, " k"]:
    r"""One term a particle whose mean estimates KL(p || N(0, I)), in nats.

    KL(p || N(0, I)) = E_p V - H(p) + (D/2) log 2 pi with V = |z|^2/2 and, by Kozachenko
    and Leonenko, H = D E log eps + log c_D + log(k - 1) - psi(neighbours). With the
    same expression of a reference whose divergence is known to be zero taken away,
    the constants and most of the sampling error cancel:

        t_j = (|z_j|^2 - |s_j|^2)/2 - D (log eps_j - log eps^s_j).

    Args:
        points: Particles z in whitened coordinates, one a row.
        reference: A sample s of N(0, I), coupled with the particles row by row.
        neighbours: Which neighbour eps is the distance to. More lower the variance and
            raise the bias.

    Returns:
        The terms. Neighbours share distances, so they are not quite independent: the
        standard error of their mean is a little low. +inf where only particles
        coincide, nan where both populations do.

    Cost: that of `log_distances`, twice.
    Source: Kozachenko and Leonenko 1987; Kraskov et al. 2004, eq. (20).
    """
    dim = points.shape[1]
    energy = (np.square(points).sum(axis=1) - np.square(reference).sum(axis=1)) / 2
    log_points = log_distances(points, neighbours)
    log_reference = log_distances(reference, neighbours)
    with np.errstate(invalid="ignore"):
        return energy - dim * (log_points - log_reference)
