"""The age network as a pure function of its images, and running such functions over many images."""

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
from boneage_jax.errors import UserError
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.runs.state import Arrays, Network
from boneage_jax.tasks import Task

PredictMonths = Callable[[Float[Array, "b h w p"]], Float[Array, " b"]]
"""From images, grey levels in [0, 1], to bone ages in months; differentiable."""


@dataclasses.dataclass(frozen=True)
class AgeFunction:
    """An age network as a pure function of its weights, images and sexes.

    Attributes:
      network: the network.
      task: bone age.
      image_shape: height and width of the images, in pixels.
    """

    network: Network
    task: Task
    image_shape: tuple[int, int]

    @classmethod
    def of(cls, loaded: LoadedRun) -> AgeFunction:
        """Returns the function of a run's network.

        Raises:
          UserError: for a run of another task, and for a network without feature maps.
        """
        config = loaded.config
        if not loaded.task.needs_age:
            raise UserError(f"{loaded.folder}: a run of the task {config.task.name!r}, expected 'bone_age'")
        module = loaded.network.module(loaded.arrays["params"], loaded.arrays["batch_stats"])
        if not (hasattr(module, "maps") and hasattr(module, "from_maps")):
            raise UserError(
                f"{loaded.folder}: model.name: found {config.model.name!r}, expected an architecture with "
                "feature maps, whose module has `maps` and `from_maps`"
            )
        return cls(loaded.network, loaded.task, (config.data.height, config.data.width))

    def months(self, arrays: Arrays, images_bhwp: Float[Array, "b h w p"], male_b: Float[Array, " b"]) -> Array:
        """Returns the predicted bone ages, in months."""
        return self.months_of_maps(arrays, self.feature_maps(arrays, images_bhwp), male_b)

    def feature_maps(self, arrays: Arrays, images_bhwp: Float[Array, "b h w p"]) -> list[Float[Array, "b oh ow c"]]:
        """Returns the last feature maps, those of each channel of the images by themselves."""
        module = self.network.module(arrays["params"], arrays["batch_stats"])
        maps: list[Array] = module.maps(self.task.model_input(images_bhwp))
        return maps

    def months_of_maps(
        self, arrays: Arrays, maps: list[Float[Array, "b oh ow c"]], male_b: Float[Array, " b"]
    ) -> Array:
        """Returns the bone ages, in months, that the rest of the network predicts from feature maps."""
        outputs = self.network.module(arrays["params"], arrays["batch_stats"]).from_maps(maps, male_b)
        return jnp.asarray(self.task.prediction(outputs, self.image_shape))[:, 0]


Step = Callable[[Arrays, dict[str, Array]], Any]
"""From weights and a batch of columns to arrays with a row for each example."""


def over_all(
    loaded: LoadedRun, arrays: Arrays, step: Step, columns: Mapping[str, np.ndarray], *, batch_size: int, label: str
) -> Any:
    """Returns a step's results for all examples, in order, computed on all devices of the run's mesh.

    Args:
      loaded: the run, for its mesh.
      arrays: weights and statistics on the devices.
      step: a pure function; it gets a batch of `columns`, `image` and `fill` as grey levels in [0, 1].
      columns: by name, a row for each example.
      batch_size: rounded up to a multiple of the number of devices.
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
        # The last batch is filled up with its own first examples: every device computes the same number.
        rows = np.resize(np.array(numbers), size) if len(numbers) < size else np.array(numbers)
        batch = to_devices({name: values[rows] for name, values in columns.items()}, mesh)
        found.append(jax.device_get(compiled(arrays, batch)))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *found)


@dataclasses.dataclass(frozen=True)
class Runner:
    """Runs a run's age network, or functions of it, over many images.

    Attributes:
      loaded: the run.
      function: its network.
      batch_size: images at once.
    """

    loaded: LoadedRun
    function: AgeFunction
    batch_size: int

    def run(
        self, step: Step, columns: Mapping[str, np.ndarray], *, label: str, arrays: Arrays | None = None, times: int = 1
    ) -> Any:
        """Returns a step's results for all rows of the columns; see `over_all`.

        Args:
          step: a pure function.
          columns: by name, a row for each example.
          label: of the progress bar.
          arrays: weights and statistics; None for the run's.
          times: factor of the batch size, for steps that need less memory than a method.
        """
        arrays = self.loaded.arrays if arrays is None else arrays
        return over_all(self.loaded, arrays, step, columns, batch_size=times * self.batch_size, label=label)

    def months(self, image: np.ndarray, male: np.ndarray, *, label: str, times: int = 1) -> Float[np.ndarray, " n"]:
        """Returns the predicted bone age of each image, in months.

        Args:
          image: bytes of shape (n, h, w, p).
          male: whether each child is a boy.
          label: of the progress bar.
          times: factor of the batch size.
        """

        def step(arrays: Arrays, batch: dict[str, Array]) -> Array:
            return self.function.months(arrays, batch["image"], batch["male"])

        columns = {"image": image, "male": male.astype(np.float32)}
        return np.asarray(self.run(step, columns, label=label, times=times), np.float64)
