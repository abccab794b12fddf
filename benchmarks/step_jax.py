"""A training step of this project's networks, ready to be timed."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import numpy as np

from boneage_jax import tasks
from boneage_jax.config import ExperimentConfig, loading
from boneage_jax.distributed.mesh import make_mesh, to_devices
from boneage_jax.runs.optimizer import make_optimizer, make_schedule
from boneage_jax.runs.state import abstract_state, initial_state
from boneage_jax.train.step import compile_train_step

CONFIGS = {"m46": "configs/m46.py", "resnet50": "configs/paper/experiment.py:resnet50-regression-A-all"}


def config_of(
    network: str,
    *,
    batch: int,
    dtype: str,
    size: tuple[int, int] | None = None,
    kernels: str = "auto",
    augment: bool = False,
) -> ExperimentConfig:
    """Returns the config of a network of `CONFIGS` as it is timed.

    Args:
      network: its name.
      batch: images a step.
      dtype: of activations.
      size: height and width in pixels; None for the config's own.
      kernels: see `ops`.
      augment: whether pictures are moved too, which the other framework's side does not do.
    """
    arguments = [
        f"--config={CONFIGS[network]}", f"--config.train.batch_size={batch}", f"--config.model.dtype={dtype}",
        f"--config.model.kernels={kernels}", "--config.optimizer.clip_norm=0.0",
    ]  # fmt: skip
    if size:
        arguments += [f"--config.data.height={size[0]}", f"--config.data.width={size[1]}"]
    if not augment:
        arguments += [f"--config.augment.{name}=0.0" for name in ("shift", "zoom", "rotation", "gamma")]
    return loading.load(arguments)


@dataclasses.dataclass
class Ready:
    """A step, the state it changes, and a batch on the device.

    Attributes:
      step: see `compile_train_step`.
      state: after the steps that were done; its shapes where it is abstract.
      batch: pictures and labels, random; likewise.
    """

    step: Any
    state: Any
    batch: dict[str, Any]

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.state.params))

    def compile(self) -> Any:
        """Compiles the step ahead of time, and returns the compiled program, which says what it costs."""
        self.step = self.step.lower(self.state, self.batch).compile()
        return self.step

    def seconds(self, steps: int) -> float:
        """Does steps, one after the other as training does, and returns the seconds until the last has ended."""
        start = time.perf_counter()
        for _ in range(steps):
            self.state, metrics = self.step(self.state, self.batch)
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - start


def abstract(config: ExperimentConfig) -> Ready:
    """Returns a step of a config on the first device, with the shapes of its state and batch: it cannot be done."""
    schedule, optimizer = _optimizer(config)
    network, state = abstract_state(config, optimizer)
    step = compile_train_step(
        make_mesh(1),
        config=config,
        network=network,
        task=tasks.build(config.task),
        optimizer=optimizer,
        schedule=schedule,
    )
    shapes = {name: jax.ShapeDtypeStruct(values.shape, values.dtype) for name, values in _batch(config).items()}
    return Ready(step, state, shapes)


def ready(config: ExperimentConfig) -> Ready:
    """Returns a step of a config on the first device; nothing is compiled before the first one is done."""
    _, optimizer = _optimizer(config)
    mesh = make_mesh(1)
    _, state = initial_state(config, optimizer, mesh)
    return Ready(abstract(config).step, state, to_devices(_batch(config), mesh))


def _optimizer(config: ExperimentConfig) -> tuple[Any, Any]:
    schedule = make_schedule(config.optimizer, total_steps=1000, warmup_steps=0)
    return schedule, make_optimizer(config.optimizer, schedule)


def _batch(config: ExperimentConfig) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    batch, height, width = config.train.batch_size, config.data.height, config.data.width
    return {
        "image": generator.integers(0, 256, (batch, height, width), dtype=np.uint8),
        "male": np.ones(batch, np.float32),
        "bone_age": generator.uniform(1, 228, batch).astype(np.float32),
        "slot": np.arange(batch, dtype=np.int32),
        "mask": np.ones(batch, np.float32),
    }
