"""Lazy training: three published experiments on one scale."""

from collections.abc import Mapping
from typing import Any, ClassVar

import xarray

from mfsim.component import count, static
from mfsim.findings import Findings
from mfsim.studies.base import AbstractStudy, require_rising
from mfsim.studies.lazy_training import (
    growing_width,
    phase_diagram,
    start_scale,
    width_collapse,
)
from mfsim.sweep import Sweep

_EVEN = ("phase_widths", "collapse_widths")
_RISING = (*_EVEN, "phase_gammas", "scales", "growing_widths", "collapse_alphas")


class LazyTraining(AbstractStudy):
    """Do three published pictures of lazy training come out on the one scale alpha?

    f = (alpha/m) sum_j u_j h(w_j . x) at lambda = 0:

    - Luo et al. 2021, alpha = m^(1 - gamma): RD(w) ~ m^S_w, S_w = gamma - 1 for
      gamma <= 1 and (gamma - 1)/2 above; the map of linear, critical and condensed.
    - Chizat et al. 2019, alpha = m tau^2: test loss against tau (fig. 1c), and against
      m at alpha = 1 and sqrt(m) (fig. 2a).
    - Geiger et al. 2020, alpha = sqrt(h) alpha_G: KL and displacement of all widths
      over alpha are one curve; the kernel's drift goes like alpha^-1 below it.

    Fields:
        phase_widths: Widths m of the phase diagram, even.
        phase_gammas: Its gamma.
        phase_seeds: Its starts; at least three to judge scatter.
        scales: tau of fig. 1c, in rising order.
        scale_width: Its width m, even.
        scale_trials: Draws of teacher, data and start.
        scale_steps: Steps of full-batch gradient descent.
        teacher_points: Training points n of fig. 1c and 2a.
        growing_widths: Widths m of fig. 2a, in rising order.
        growing_trials: Its trials.
        growing_steps: Its steps.
        collapse_widths: Widths m whose curves are put over each other, even.
        collapse_alphas: Their alpha, in rising order.
        collapse_seeds: Draws of digits and starts.

    Source: Luo, Xu, Ma, Zhang 2021 (arXiv 2007.07497); Chizat, Oyallon, Bach 2019
    (arXiv 1812.07956); Geiger, Spigler, Jacot, Wyart 2020 (arXiv 1906.08034).
    """

    question: ClassVar[str] = (
        "Do three published pictures of lazy training come out on the one scale α?"
    )
    QUICK: ClassVar[Mapping[str, Any]] = {
        "phase_widths": (1000, 2000, 4000, 8000, 16000),
        "phase_gammas": (0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
        "phase_seeds": 4,
        "scales": (0.01, 0.0398, 0.1, 0.2, 1.0, 10.0),
        "scale_trials": 4,
        "growing_widths": (4, 16, 128),
        "growing_trials": 4,
        "growing_steps": 2500,
        "collapse_widths": (256, 1024, 4096),
        "collapse_alphas": tuple(
            2.0**k for k in (-8, -7, -6, -5, -4, -2, 0, 1, 2, 3, 4)
        ),
        "collapse_seeds": 3,
    }

    phase_widths: tuple[int, ...] = static((1000, 2000, 5000, 10000, 20000, 40000))
    phase_gammas: tuple[float, ...] = static(tuple(k / 8 for k in range(4, 15)))
    phase_seeds: int = count(10)
    scales: tuple[float, ...] = static(
        tuple(float(f"{10 ** (k / 10):.3g}") for k in range(-22, 11))
    )
    scale_width: int = count(50)
    scale_trials: int = count(10)
    scale_steps: int = count(10000)
    teacher_points: int = count(1000)
    growing_widths: tuple[int, ...] = static((2, 4, 8, 16, 32, 64, 128, 256, 512))
    growing_trials: int = count(10)
    growing_steps: int = count(25000)
    collapse_widths: tuple[int, ...] = static((256, 1024, 4096, 16384))
    collapse_alphas: tuple[float, ...] = static(tuple(2.0**k for k in range(-8, 5)))
    collapse_seeds: int = count(8)

    def __check_init__(self):
        require_rising(**{name: getattr(self, name) for name in _RISING})
        pairs = {name: getattr(self, name) for name in _EVEN}
        for name, values in (pairs | {"scale_width": (self.scale_width,)}).items():
            if any(width % 2 for width in values):
                raise ValueError(
                    f"{name} must be even, as neurons start in pairs, got {values}."
                )

    def experiments(self) -> tuple[Sweep, ...]:
        return (
            phase_diagram.sweep(self.phase_widths, self.phase_gammas, self.phase_seeds),
            start_scale.sweep(
                self.scales,
                self.scale_width,
                self.teacher_points,
                self.scale_steps,
                self.scale_trials,
            ),
            growing_width.sweep(
                self.growing_widths,
                self.teacher_points,
                self.growing_steps,
                self.growing_trials,
            ),
            width_collapse.sweep(
                self.collapse_widths, self.collapse_alphas, self.collapse_seeds
            ),
        )

    def analyse(self, runs: Mapping[str, xarray.Dataset]) -> Findings:
        teacher = f"λ = 0, n = {self.teacher_points}"
        scale = f"{teacher}, {self.scale_steps} steps"
        growing = f"{teacher}, {self.growing_steps} steps"
        parts = (
            phase_diagram.report(runs["phase_diagram"]),
            start_scale.report(runs["start_scale"], self.scale_width, scale),
            growing_width.report(runs["growing_width"], growing),
            width_collapse.report(runs["width_collapse"]),
        )
        return Findings(
            *(
                tuple(item for part in parts for item in getattr(part, name))
                for name in ("verdicts", "tables", "charts", "notes")
            )
        )
