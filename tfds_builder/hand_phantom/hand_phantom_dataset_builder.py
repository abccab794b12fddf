"""TFDS builder of rendered hands with exact truth."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds

from boneage_jax import anatomy
from boneage_jax.data import images, parallel
from boneage_jax.data.storage import StorageConfig, image_feature
from boneage_jax.phantom import population
from boneage_jax.phantom.render import Camera, render


@dataclasses.dataclass
class PhantomConfig(StorageConfig):
    """How many phantoms, of what size, from which seed.

    Attributes:
      train: images for training.
      validation: images for choosing.
      test: images for reporting.
      seed: same seed, same images; splits never share a child.
    """

    train: int = 0
    validation: int = 0
    test: int = 0
    seed: int = 2017

    @property
    def camera(self) -> Camera:
        # Small pictures are supersampled, or their growth plates, about one pixel thick, would break up.
        return Camera(height=self.height, width=self.width, supersample=2 if self.height < 500 else 1)


def render_one(numbered: tuple[int, float, bool], *, split_key: jax.Array, config: PhantomConfig) -> dict[str, Any]:
    """Renders and encodes one phantom from its number in the split, its age in months and its sex."""
    number, age, male = numbered
    key = jax.random.fold_in(split_key, number)
    phantom = jax.device_get(render(key, jnp.float32(age), jnp.float32(male), config.camera))
    grey = np.round(phantom.image * 255).astype(np.uint8)
    return {
        "image": config.feature_value(images.encode(grey, config.encoding, config.quality)),
        "mask": images.encode(phantom.mask.astype(np.uint8) * 255, "png"),
        "key_points": phantom.key_points.astype(np.float32),
        "bone_maturity": phantom.maturity.astype(np.float32),
    }


class Builder(tfds.core.GeneratorBasedBuilder):
    """Hand phantoms.

    Args:
      workers: threads that render; does not change what is written.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version: 29 bones, soft tissue, noise, pose."}
    BUILDER_CONFIGS = [
        PhantomConfig(
            name="tiny", description="For the demo.", height=192, width=144, train=3600, validation=400, test=400
        ),
        PhantomConfig(
            name="small",
            description="At the paper's input size.",
            height=500,
            width=375,
            train=4000,
            validation=500,
            test=500,
        ),
        PhantomConfig(
            name="full",
            description="As many and nearly as large as RSNA's.",
            height=1560,
            width=1200,
            train=12611,
            validation=1425,
            test=1000,
        ),
    ]

    def __init__(self, *, workers: int = 1, **kwargs: Any):
        self._workers = workers
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": image_feature(self.builder_config),
                    "id": tfds.features.Text(),
                    "bone_age": tfds.features.Scalar(np.float32, doc="months"),
                    "male": tfds.features.Scalar(np.bool_),
                    "height": tfds.features.Scalar(np.int32, doc="pixels"),
                    "width": tfds.features.Scalar(np.int32, doc="pixels"),
                    "source": tfds.features.Text(doc="split and number within it"),
                    "mask": tfds.features.Image(shape=(None, None, 1), dtype=np.uint8, doc="255 inside the hand"),
                    "key_points": tfds.features.Tensor(
                        shape=(len(anatomy.KEY_POINTS), 2), dtype=np.float32, doc="x, y in pixels of anatomy.KEY_POINTS"
                    ),
                    "bone_maturity": tfds.features.Tensor(
                        shape=(len(anatomy.BONES),), dtype=np.float32, doc="bone age of each of anatomy.BONES in months"
                    ),
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        del dl_manager
        counts = {
            "train": self.builder_config.train,
            "validation": self.builder_config.validation,
            "test": self.builder_config.test,
        }
        return {
            split: self._generate_examples(split, n, count) for n, (split, count) in enumerate(counts.items()) if count
        }

    def _generate_examples(self, split: str, place: int, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
        config = self.builder_config
        ages, males = population.sample_ages(config.seed + 1_000_003 * place, count)
        draw = functools.partial(
            render_one, split_key=jax.random.fold_in(jax.random.key(config.seed), place), config=config
        )
        children = list(zip(range(count), ages.tolist(), males.tolist(), strict=True))
        rendered = parallel.ordered_map(draw, children, workers=self._workers, kind="thread")
        pairs = zip(children, rendered, strict=True)
        for (number, age, male), truth in parallel.progress(pairs, total=count, label=f"{split}: rendering"):
            name = f"{split}_{number:05d}"
            yield (
                name,
                {
                    "id": name,
                    "bone_age": age,
                    "male": male,
                    "height": config.height,
                    "width": config.width,
                    "source": f"hand_phantom/{config.name}/{name}",
                    **truth,
                },
            )
