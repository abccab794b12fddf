"""The compiled programs of a training, made once for all trainings of a process that need the same ones."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from jax.sharding import Mesh

from boneage_jax import tasks
from boneage_jax.config import ExperimentConfig
from boneage_jax.runs.optimizer import make_optimizer, make_schedule
from boneage_jax.runs.predict_step import EvalStep, compile_score_step
from boneage_jax.runs.state import TrainState, compile_initial_state
from boneage_jax.train.step import TrainStep, compile_train_step

_KEPT = 8
"""Sets of programs kept for later trainings. Chosen by eye: a study takes few settings in turn."""


@dataclasses.dataclass(frozen=True)
class Programs:
    """What a training runs on its devices.

    Attributes:
      initial: returns the state before the first step, from `train.seed`.
      step: see `train_step`.
      score: see `compile_score_step`.
    """

    initial: Callable[[], TrainState]
    step: TrainStep
    score: EvalStep


def compile_programs(config: ExperimentConfig, mesh: Mesh, *, total_steps: int, warmup_steps: int) -> Programs:
    """Returns the programs of a training.

    Rounds of mining, folds and the sizes of a learning curve train one network many times: they compile it once.

    Args:
      config: the experiment.
      mesh: its devices.
      total_steps: length of the learning rate's schedule.
      warmup_steps: of which the learning rate rises.
    """
    return _compiled(_without_what_is_not_compiled(config), mesh, total_steps, warmup_steps)


def _without_what_is_not_compiled(config: ExperimentConfig) -> ExperimentConfig:
    """The config with the defaults for all that no program depends on.

    A setting that is not named here is taken to matter. That costs a compilation at most.
    """
    default = ExperimentConfig()
    data, train = default.data, default.train
    return dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data,
            dir=data.dir,
            name=data.name,
            mix=data.mix,
            mix_share=data.mix_share,
            train_split=data.train_split,
            eval_split=data.eval_split,
            fold=data.fold,
            masks=data.masks,
            oversampled_masks=data.oversampled_masks,
            eval_masks=data.eval_masks,
            key_points=data.key_points,
        ),
        train=dataclasses.replace(config.train, length=train.length, start=train.start, start_parts=train.start_parts),
        eval=default.eval,
        checkpoint=default.checkpoint,
        log=default.log,
    )


@functools.lru_cache(maxsize=_KEPT)
def _compiled(config: ExperimentConfig, mesh: Mesh, total_steps: int, warmup_steps: int) -> Programs:
    task = tasks.build(config.task)
    schedule = make_schedule(config.optimizer, total_steps=total_steps, warmup_steps=warmup_steps)
    optimizer = make_optimizer(config.optimizer, schedule)
    network, initial = compile_initial_state(config, optimizer, mesh)
    step = compile_train_step(mesh, config=config, network=network, task=task, optimizer=optimizer, schedule=schedule)
    return Programs(initial, step, compile_score_step(mesh, network=network, task=task))
