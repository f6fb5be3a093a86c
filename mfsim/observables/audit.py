"""Whether a run obeys the identities that its flow implies."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mfsim.accounts import PathBalance
from mfsim.component import count
from mfsim.flows import ParticleFlow
from mfsim.observables.base import AbstractObservable, train_outputs, unaccounted
from mfsim.observables.kl import KL
from mfsim.observables.populations import need_shadow
from mfsim.series import Series

_SIZES = 3.0
"""Residuals of so many expected sizes fail."""
_ROUNDING = 100.0
"""Units in the last place that the sums of a run may be off."""


class Audit(AbstractObservable):
    """Residuals of the balance of risk and outputs, with the size to be expected.

    audit_risk and audit_outputs are what the integrated rates of the training risk and
    of the outputs leave unexplained since the start; audit_risk_size and
    audit_outputs_size what noise and a good step leave; audit_passed is 1 where both
    are within three sizes. A run that fails takes too large a step.

    Fields:
        max_points: Outputs on the first so many training points are balanced; each
            costs at every step as much as a training point.

    Source: docs/numerics.md; Ito's formula for the empirical law.
    """

    flows: ClassVar = (ParticleFlow,)
    builds_on: ClassVar = (KL,)

    max_points: int = count(100)

    def declare(self, flow, integrator, data):
        need_shadow(self, flow)
        points = min(self.max_points, len(data.y_train))
        declared: dict[str, Series | str] = {
            "audit_risk": Series(
                "loss", "dL", "Change of the training risk that its rates leave over."
            ),
            "audit_risk_size": Series("loss", "sd(dL)", "Expected size of audit_risk."),
            "audit_outputs": Series(
                "output",
                "|df|",
                f"Root mean square change of {points} training outputs that their "
                "rates leave over.",
            ),
            "audit_outputs_size": Series(
                "output", "sd|df|", "Expected size of audit_outputs."
            ),
            "audit_passed": Series("1", "-", "1 within three expected sizes, else 0."),
        }
        network: Any = flow.network
        if reason := unaccounted(integrator):
            return dict.fromkeys(declared, reason)
        bends = network.trainable == "output" or network.activation.smooth
        if flow.temperature > 0 and not bends:
            kind = type(network.activation).__name__
            return dict.fromkeys(declared, f"the activation {kind} has no h''")
        return declared

    def measure(self, look):
        flow, data = look.flow, look.data
        if unaccounted(look.integrator):
            return {}
        explained = look.read(*self.accounts())
        _, produced = look.read(*look.find(KL).accounts())
        temperature = jnp.asarray(flow.temperature, float)
        gained = 0.0 if produced is None else temperature * produced
        points = len(explained.outputs)
        outputs = look.once(train_outputs), flow.predict(look.initial, data.x_train)
        rounding = _ROUNDING * float(jnp.finfo(outputs[0].dtype).eps)
        now, start = (f.astype(float) for f in outputs)
        y = data.y_train.astype(float)
        risk, first = (flow.loss(f, y).mean() for f in (now, start))
        explained = jax.tree.map(lambda a: a.astype(float), explained)
        change = (now - start)[:points] - explained.outputs
        size = _rms(explained.outputs_size) + rounding * (_rms(now) + _rms(y))
        return {
            "audit_risk": risk - first - explained.risk - gained,
            "audit_risk_size": explained.risk_size + rounding * first,
            "audit_outputs": _rms(change),
            "audit_outputs_size": size,
        }

    def finish(self, flow, found, reference):
        if not found:
            return found
        passed = all(
            abs(found[name]) <= _SIZES * found[f"{name}_size"]
            for name in ("audit_risk", "audit_outputs")
        )
        return found | {"audit_passed": np.float64(passed)}

    def complain(self, row):
        if row.get("audit_passed") != 0:
            return None
        return (
            "the audit failed: the risk or the outputs changed otherwise than their "
            "rates say; the step is too large, try half of it."
        )

    def accounts(self):
        return (PathBalance(self.max_points),)


def _rms(values):
    return jnp.sqrt(jnp.square(values).mean())
