"""What the theorems on the lazy regime take from a network, its data and the noise.

The constants are those of Chen et al. 2020, "A Generalized Neural Tangent Kernel
Analysis for Two-layer Neural Networks" (GNTK, arXiv 2002.04026).
"""

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from mfsim.activations import AbstractActivation, SmoothnessConstants
from mfsim.flows import ParticleFlow
from mfsim.kernels.infinite_width import infinite_width_kernel
from mfsim.kernels.spectrum import extreme_eigenvalues, require_positive
from mfsim.losses import SquaredError

_POSITIVE = "dim", "num_train", "alpha", "lambda_min", "input_std", "output_std"
_NOT_NEGATIVE = "temperature", "initial_risk", "largest_entry", "input_norm"


@dataclass(frozen=True)
class LazySetting:
    """The numbers that the theorems take from a network, its data and the noise.

    Fields:
        activation: With constants G_1 ... G_7.
        dim, num_train: d and n.
        alpha, temperature: alpha and lambda.
        initial_risk: L(p_0), the mean of y^2 as f(p_0, .) = 0.
        lambda_min: Smallest eigenvalue of H(p_0) on the training points.
        largest_entry: max |H(p_0)_ik|.
        input_std, output_std: sigma_w and sigma_u.
        input_norm: max |x_i|, at most 1 in the theorems.

    Raises:
        ValueError: If the activation has no such constants or a number is negative, or
            0 where it must be positive.
    """

    activation: AbstractActivation
    dim: int
    num_train: int
    alpha: float
    temperature: float
    initial_risk: float
    lambda_min: float
    largest_entry: float
    input_std: float = 1.0
    output_std: float = 1.0
    input_norm: float = 1.0
    smoothness: SmoothnessConstants = field(init=False, repr=False)

    def __post_init__(self):
        constants = self.activation.constants
        if constants is None:
            raise ValueError(
                "activation must have smoothness constants G_1 ... G_7, got "
                f"{type(self.activation).__name__}; take Softplus for Relu."
            )
        object.__setattr__(self, "smoothness", constants)
        for name in _POSITIVE:
            check_positive(name, getattr(self, name))
        for name in _NOT_NEGATIVE:
            _check_not_negative(name, getattr(self, name))

    @classmethod
    def of(
        cls, flow: ParticleFlow, kernel: Float[np.ndarray, "n n"] | None = None
    ) -> "LazySetting":
        """The setting of a flow on its training set, loaded here.

        Args:
            flow: With squared loss and both blocks trained.
            kernel: H(p_0) at the training points; that of infinite width unless given.

        Raises:
            ValueError: If the flow is not one of the theorems, the kernel is singular,
                with the points that make it so, or as above.

        Cost: O(n^3) for the smallest eigenvalue.
        """
        _check_flow(flow)
        data, network = flow.dataset.load(), flow.network
        if kernel is None:
            kernel = infinite_width_kernel(network, data.x_train)
        require_positive(kernel)
        return cls(
            activation=network.activation,
            dim=data.x_train.shape[1],
            num_train=len(data.y_train),
            alpha=float(network.alpha),
            temperature=float(flow.temperature),
            initial_risk=float(np.mean(np.square(data.y_train))),
            lambda_min=extreme_eigenvalues(kernel).lambda_min,
            largest_entry=float(np.abs(kernel).max()),
            input_std=float(network.input_std),
            output_std=float(network.output_std),
            input_norm=float(np.linalg.norm(data.x_train, axis=1).max()),
        )

    @property
    def largest_std(self) -> float:
        """The larger of sigma_w and sigma_u."""
        return max(self.input_std, self.output_std)

    @property
    def mean_square(self) -> float:
        """sigma_w^2 d + sigma_u^2, the mean of |theta|^2 under p_0."""
        return self.input_std**2 * self.dim + self.output_std**2

    @property
    def lambda_min_over_n(self) -> float:
        """The paper's lambda_0^2: alpha^2 times it is the rate of the training."""
        return self.lambda_min / self.num_train

    @property
    def a_1(self) -> float:
        """A_1, which bounds the generator on the outputs (GNTK, theorem 4.4)."""
        g = self.smoothness
        w, u = self.input_std**2, self.output_std**2
        linear = 2 * (g.g2 / u + g.g4) * math.sqrt(self.mean_square)
        return 2 * (g.g1 / u + g.g3 / w) * self.mean_square + linear

    @property
    def a_2(self) -> float:
        """A_2, which bounds its gradient (GNTK, theorem 4.4)."""
        g = self.smoothness
        w, u = self.input_std**2, self.output_std**2
        growth = (g.g1 + g.g3) / u + (g.g3 + g.g5) / w + g.g6
        flat = g.g2 / u + g.g4
        return 2 * self.largest_std * (2 * growth * math.sqrt(self.mean_square) + flat)

    @property
    def radius(self) -> float:
        """R, the distance W2 from p_0 within which H(p) keeps half of lambda_min.

        Its logarithm is taken as 0 where it is negative, which makes R smaller.
        """
        g, w, u = self.smoothness, self.input_std**2, self.output_std**2
        cut = 8 * self.num_train * g.g3**2 * u / self.lambda_min
        slope = (
            8 * g.g3**2 * math.sqrt(8 * w * self.dim + 10 * u)
            # Below 1 nothing has to be cut off.
            + 64 * u * g.g3 * g.g4 * max(math.log(cut), 0.0)
            + 16 * g.g1 * g.g3 * math.sqrt(self.mean_square)
            + 8 * g.g2 * g.g3
        )
        return min(math.sqrt(self.mean_square), self.lambda_min_over_n / slope)

    @property
    def least_alpha(self) -> float:
        """The alpha from which on the theorems on the training apply."""
        drive = self.a_2**2 * self.initial_risk + self.a_1**2 * self.temperature
        size = math.sqrt(drive) * self.largest_std
        return 8 * size / (self.lambda_min_over_n * self.radius)

    @property
    def b_1(self) -> float:
        """B_1, of the Rademacher complexity (GNTK, theorem 4.10)."""
        g, s = self.smoothness, self.largest_std
        spread = 2 * g.g1**2 * self.input_std**2 * self.dim + g.g2**2
        turns = 2 * math.sqrt(2) + 8 * math.sqrt(math.log(self.num_train))
        return 4 * s * math.sqrt(spread) + turns * g.g3 * self.output_std * s

    def b_2(self, kl: float) -> float:
        """B_2 of a class of laws with KL(p || p_0) <= `kl`; infinite beyond `most_kl`.

        Its logarithm, as printed, compares sigma_u with max sigma^2: of the constants
        it alone depends on the unit of the parameters.
        """
        if kl > self.most_kl:
            return math.inf
        g, s = self.smoothness, self.largest_std
        root = math.sqrt(math.log(self.most_kl / kl))
        return 40 * g.g3 * s**2 + 16 * g.g4 * self.output_std * s**2 * root

    @property
    def most_kl(self) -> float:
        """The M = sigma_u/(8 max sigma^2) beyond which B_2 has no real logarithm."""
        return self.output_std / (8 * self.largest_std**2)


def _check_flow(flow: ParticleFlow) -> None:
    if not isinstance(flow.loss, SquaredError):
        raise ValueError(
            "loss must be SquaredError for the theorems on the lazy regime, got "
            f"{type(flow.loss).__name__}."
        )
    if flow.network.trainable != "both":
        raise ValueError(
            "trainable must be 'both' for the theorems on the lazy regime, got "
            f"{flow.network.trainable!r}."
        )


def check_positive(name: str, value: int | float) -> None:
    """Raise ValueError unless `value` is a positive number."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value:g}.")


def _check_not_negative(name: str, value: int | float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be at least 0 and finite, got {value:g}.")
