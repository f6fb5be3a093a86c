"""How far every step of gradient descent is from that of its present kernel."""

from mfsim import accounts
from mfsim.component import count
from mfsim.observables.base import AbstractObservable, unaccounted
from mfsim.series import Series


class ResidualRecursion(AbstractObservable):
    """Error of r_{k+1} = (I - c eta H_k) r_k: residual_recursion, its sum, its share.

    r = f - y, H_k the kernel at step k and c = 2 kernel_rate/n for the squared loss;
    for others f_{k+1} = f_k - (kernel_rate eta/n) H_k phi'. Curvature adds to it in
    second order of the step; noise and decay add all that they do to the outputs, and
    float32 some 1e-7 of them a step: small steps want float64.

    Fields:
        max_points: Outputs on the first so many training points are followed; each
            costs at every step one product with its gradient.

    Source: Lee et al. 2019, sec. 2.2; Chen et al. 2020, eq. (3.8).
    """

    max_points: int = count(2000)

    def declare(self, flow, integrator, data):
        points = min(self.max_points, len(data.y_train))
        declared: dict[str, Series | str] = {
            "residual_recursion": Series(
                "output",
                "|r_{k+1} - (I - c eta H_k) r_k|",
                f"Root mean square over {points} training points of what the last step "
                "did to the residuals besides the recursion of its kernel; float32 "
                "rounds the outputs by some 1e-7.",
            ),
            "residual_recursion_sum": Series(
                "output",
                "sum_k |r_{k+1} - (I - c eta H_k) r_k|",
                "Sum of residual_recursion over all steps: how far the outputs can be "
                "from the product of all (I - c eta H_k).",
            ),
            "residual_recursion_relative": Series(
                "1",
                "|r_{k+1} - (I - c eta H_k) r_k|/|c eta H_k r_k|",
                "residual_recursion over the root mean square of the kernel's step.",
            ),
        }
        reason = unaccounted(integrator)
        return dict.fromkeys(declared, reason) if reason else declared

    def measure(self, look):
        if unaccounted(look.integrator):
            return {}
        found = look.read(*self.accounts())
        return {
            "residual_recursion": found.last,
            "residual_recursion_sum": found.total,
            "residual_recursion_relative": found.relative,
        }

    def accounts(self):
        return (accounts.ResidualRecursion(self.max_points),)
