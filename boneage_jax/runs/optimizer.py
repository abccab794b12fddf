"""Optax optimisers and schedules, from the config."""

from __future__ import annotations

from typing import Any

import jax
import optax

from boneage_jax.schema import OptimizerConfig


def make_schedule(config: OptimizerConfig, *, total_steps: int, warmup_steps: int) -> optax.Schedule:
    """Returns the learning rate as a function of the step: linear warm-up from 0, then decay to the final value."""
    peak, final, rest = config.learning_rate, config.final_learning_rate, max(1, total_steps - warmup_steps)
    decays = {
        "constant": lambda: optax.constant_schedule(peak),
        "linear": lambda: optax.linear_schedule(peak, final, rest),
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest, alpha=final / peak),
        "exponential": lambda: optax.exponential_decay(peak, rest, final / peak),
    }
    decay = decays[config.schedule]()
    if not warmup_steps:
        return decay
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup_steps), decay], [warmup_steps])


def make_optimizer(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Returns the optimiser; weight decay spares biases and norms."""

    def kernels(params: Any) -> Any:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    b1, b2, decay = config.beta1, config.beta2, config.weight_decay
    rule = {
        "adam": lambda: optax.adam(schedule, b1=b1, b2=b2),
        "adamw": lambda: optax.adamw(schedule, b1=b1, b2=b2, weight_decay=decay, mask=kernels),
        "lamb": lambda: optax.lamb(schedule, b1=b1, b2=b2, weight_decay=decay, mask=kernels),
        "sgd": lambda: optax.sgd(schedule, momentum=b1, nesterov=True),
    }[config.name]()
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), rule) if config.clip_norm else rule
