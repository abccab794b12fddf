"""Asks attribution methods about the images of a study, and keeps the answers in files."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from boneage_jax.hand import atlas
from boneage_jax.importance import faithfulness, fillings, masking
from boneage_jax.importance.cache import Cache
from boneage_jax.importance.function import Runner
from boneage_jax.importance.method import Batch, Importance, Level, Method, PixelMethod
from boneage_jax.importance.request import Filling
from boneage_jax.importance.subjects import Subjects, evenly_spread
from boneage_jax.runs.state import Arrays, Network

UNTRAINED_IMAGES = 64
"""Most images that the network without training is asked about: it is for one mean, and would take half of all time."""


class Explainer:
    """Asks methods about a network and a study's images.

    Args:
      runner: the network.
      subjects: the images.
      cache: for finished work.
      filling: what parts that are taken away are replaced by, see `fillings`.
      seed: of fillings, noise, and the network without training.
    """

    def __init__(self, runner: Runner, subjects: Subjects, cache: Cache, *, filling: Filling, seed: int):
        self._runner, self._cache, self._seed = runner, cache, seed
        self._columns = {
            "image": subjects.image,
            "fill": fillings.fill(subjects.image, subjects.areas, filling, seed=seed),
            "male": subjects.male.astype(np.float32),
            "areas": subjects.areas,
            "groups": np.array(atlas.GROUP_OF, np.uint8)[subjects.areas],
            "number": np.arange(len(subjects.ids), dtype=np.int32),
        }

    def importance(self, method: Method) -> Importance:
        """Returns a method's answer for the network and all images."""
        stem = f"{_stem(method)}-trained"
        return Importance.of({level: self._level(method, level, f"{stem}-{level}") for level in method.levels})

    @property
    def untrained_rows(self) -> Int[np.ndarray, " m"]:
        """The images that the network without training is asked about."""
        return evenly_spread(len(self._columns["image"]), UNTRAINED_IMAGES)

    def untrained_importance(self, method: Method) -> Importance:
        """Returns a method's answer for the network as it was before training, on `untrained_rows`.

        The method is asked at its finest level alone, and groups are sums over their areas: for occlusion, which is
        asked at two levels, that saves a pass.
        """
        rows, level = self.untrained_rows, method.levels[0]
        name = f"{_stem(method)}-untrained-{len(rows)}-{level}"
        return Importance.of({level: self._level(method, level, name, arrays=self._untrained, rows=rows)})

    def deletion_and_insertion(self, method: Method, groups: Float[np.ndarray, "n groups"]) -> tuple[float, float]:
        """Returns how a method's order of the groups does in deletion and insertion, see `faithfulness`.

        Args:
          method: the method.
          groups: its importance of each image's groups.
        """

        def step(arrays: Arrays, batch: dict[str, Array]) -> tuple[Array, Array]:
            given = self._batch(arrays, batch)
            return masking.deletion_and_insertion(
                given.months, given.image, given.groups, given.fill, places=batch["places"]
            )

        def make() -> dict[str, np.ndarray]:
            columns = {**self._columns, "places": faithfulness.places(groups)}
            deleted, inserted = self._runner.run(step, columns, label=f"{method.name}, deletion and insertion")
            return {"deleted": deleted, "inserted": inserted}

        stored = self._cache(f"{_stem(method)}-curves", make)
        return faithfulness.deletion(stored["deleted"]), faithfulness.insertion(stored["inserted"])

    def pixels(self, method: PixelMethod, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m h w p"]:
        """Returns a method's value of each pixel of some images."""

        def step(arrays: Arrays, batch: dict[str, Array]) -> Array:
            return method.pixels(self._batch(arrays, batch))

        def make() -> dict[str, np.ndarray]:
            columns = {name: values[rows] for name, values in self._columns.items()}
            return {"pixels": self._runner.run(step, columns, label=f"{method.name}, pixel by pixel")}

        return self._cache(f"{_stem(method)}-pixels-{'-'.join(map(str, rows))}", make)["pixels"]

    @functools.cached_property
    def _untrained(self) -> Arrays:
        """The network as it was before training: fresh weights, and the statistics that batch norm starts from."""
        _, params, batch_stats = Network.build(self._runner.loaded.config, seed=self._seed + 1)
        return {"params": params, "batch_stats": batch_stats}

    def _level(
        self,
        method: Method,
        level: Level,
        name: str,
        *,
        arrays: Arrays | None = None,
        rows: Int[np.ndarray, " m"] | None = None,
    ) -> Float[np.ndarray, "m parts"]:
        """Returns the importance of each part at a level, from the file of a name or computed."""

        def step(arrays: Arrays, batch: dict[str, Array]) -> Array:
            return method.values(self._batch(arrays, batch), level)

        def make() -> dict[str, np.ndarray]:
            columns: Mapping[str, Any] = self._columns
            if rows is not None:
                columns = {key: values[rows] for key, values in columns.items()}
            state = "trained" if arrays is None else "untrained"
            values = self._runner.run(step, columns, label=f"{method.name}, {level}, {state}", arrays=arrays)
            return {"importance": method.importance(values)}

        return self._cache(name, make)["importance"]

    def _batch(self, arrays: Arrays, columns: dict[str, Array]) -> Batch:
        """Returns what a method is given, for a batch of columns."""
        function, male = self._runner.function, columns["male"]
        key = jax.random.key(self._seed)
        return Batch(
            months=lambda images: function.months(arrays, images, male),
            feature_maps=lambda images: function.feature_maps(arrays, images),
            months_of_maps=lambda maps: function.months_of_maps(arrays, maps, male),
            image=columns["image"],
            fill=columns["fill"],
            areas=columns["areas"],
            groups=columns["groups"],
            keys=jax.vmap(lambda n: jax.random.fold_in(key, n))(columns["number"]),
        )


def _stem(method: Method) -> str:
    return f"{method.slug}-{method.version}"
