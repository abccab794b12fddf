"""An age network as a function of its pictures, run over many of them on all devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from boneage_jax import parallel
from boneage_jax.distributed.mesh import replicated, split, to_devices
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.runs.state import Arrays, Network
from boneage_jax.tasks import Task

Months = Callable[[Float[Array, "b h w p"]], Float[Array, " b"]]
"""From pictures, grey levels in [0, 1], to bone ages in months: differentiable."""


@dataclasses.dataclass(frozen=True)
class AgeFunction:
    """What a network says, and what it says it from.

    Attributes:
      network: see `Network`.
      task: bone age.
    """

    network: Network
    task: Task

    def months(self, arrays: Arrays, images_bhwp: Float[Array, "b h w p"], male_b: Float[Array, " b"]) -> Array:
        """Returns the bone ages, in months."""
        return self.of_maps(arrays, self.maps(arrays, images_bhwp), male_b)

    def maps(self, arrays: Arrays, images_bhwp: Float[Array, "b h w p"]) -> list[Float[Array, "b oh ow c"]]:
        """Returns the last feature maps, a plane each."""
        module = self.network.module(arrays["params"], arrays["batch_stats"])
        maps: list[Array] = module.maps(self.task.model_input(images_bhwp))
        return maps

    def of_maps(self, arrays: Arrays, maps: list[Float[Array, "b oh ow c"]], male_b: Float[Array, " b"]) -> Array:
        """Returns the bone ages that feature maps come to, in months."""
        outputs = self.network.module(arrays["params"], arrays["batch_stats"]).from_maps(maps, male_b)
        return jnp.asarray(self.task.prediction(outputs, (0, 0)))[:, 0]


Step = Callable[[Arrays, dict[str, Array]], Any]
"""From weights and a batch to results with an example a row."""


def over_all(
    loaded: LoadedRun, arrays: Arrays, step: Step, columns: Mapping[str, np.ndarray], *, batch_size: int, label: str
) -> Any:
    """Returns a step's results for all examples, in order, worked out on all devices of the run's mesh.

    Args:
      loaded: the run, for its mesh.
      arrays: weights and statistics on the devices.
      step: a pure function; it gets what `columns` hold, `image` and `fill` as grey levels in [0, 1].
      columns: by name, an example a row.
      batch_size: rounded up to a multiple of the devices.
      label: of the progress bar.
    """
    mesh = loaded.mesh
    size = -(-min(batch_size, len(columns["image"])) // mesh.size) * mesh.size
    whole = replicated(mesh)

    def prepared(arrays: Arrays, batch: dict[str, Array]) -> Any:
        grey: dict[str, Array] = {
            name: batch[name].astype(jnp.float32) / 255.0 for name in ("image", "fill") if name in batch
        }
        return step(arrays, {**batch, **grey})

    compiled = jax.jit(prepared, in_shardings=(whole, split(mesh)), out_shardings=whole)
    count = len(columns["image"])
    found = []
    for numbers in parallel.progress(parallel.in_batches(count, size), total=-(-count // size), label=label, unit=" b"):
        # Filled up with the first examples: every device has the same to do.
        rows = np.resize(np.array(numbers), size) if len(numbers) < size else np.array(numbers)
        batch = to_devices({name: values[rows] for name, values in columns.items()}, mesh)
        found.append(jax.device_get(compiled(arrays, batch)))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *found)
