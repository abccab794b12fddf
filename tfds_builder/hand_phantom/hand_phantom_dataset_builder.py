"""TFDS builder of rendered hands with exact truth."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import tensorflow_datasets as tfds

from boneage_jax import anatomy, parallel
from boneage_jax.data import images
from boneage_jax.data.storage import StorageConfig, image_feature
from boneage_jax.phantoms import export, population
from boneage_jax.phantoms.maturity import Variation
from boneage_jax.phantoms.series import SPLITS, Series, child_id


@dataclasses.dataclass
class PhantomConfig(StorageConfig):
    """How many phantoms are drawn, how, and from which seed.

    Attributes:
      train: images for training.
      validation: images for the choice of checkpoints and settings.
      test: images that results are reported on.
      seed: same seed, same images; no child is in two splits.
      view: one of `views.VIEWS`.
      shapes: heights and widths of the images, in pixels; the n-th image has the n-th, over and over. Empty for
        `height` and `width` alone.
      rater_sd: standard deviation of one human reading of the bone age, in months; 0 gives the truth as label.
      test_readings: number of readings that are averaged for a label of the test split, as in RSNA; in other splits a
        label is one reading.
      variation: how much children of one bone age differ.
      carrier: bones that alone show the age; see `series.Series`.
    """

    train: int = 0
    validation: int = 0
    test: int = 0
    seed: int = 2017
    view: str = "plain"
    shapes: tuple[tuple[int, int], ...] = ()
    rater_sd: float = population.RATER_SD
    test_readings: int = 6
    variation: Variation = dataclasses.field(default_factory=Variation)
    carrier: str = ""

    def fitted(self, height: int, width: int, encoding: images.Encoding, quality: int) -> Self:
        """Returns this config with images of one size, named after config and size."""
        fitted = super().fitted(height, width, encoding, quality)
        changes: dict[str, Any] = {"name": f"{self.name}_{fitted.name}", "shapes": ()}
        return dataclasses.replace(fitted, **changes)

    @property
    def series(self) -> Series:
        """The series that its children are drawn from."""
        return Series(self.seed, self.view, self.shapes or ((self.height, self.width),), self.variation, self.carrier)


def render_one(numbered: tuple[int, float, bool], *, split: str, config: PhantomConfig) -> dict[str, Any]:
    """Renders and encodes one phantom from its number in the split, its age in months and its sex."""
    number, age, male = numbered
    camera = config.series.camera(number)
    phantom: Any = config.series.draw(split, number, age, male)
    return {
        "image": config.feature_value(images.encode(export.grey(phantom), config.encoding, config.quality)),
        "height": camera.height,
        "width": camera.width,
        "mask": images.encode(phantom.mask.astype(np.uint8) * 255, "png"),
        "instances": images.encode(phantom.instances, "png"),
        "key_points": phantom.key_points.astype(np.float32),
        "joints": phantom.joints.astype(np.float32),
        "areas": phantom.areas.astype(np.float32),
        "regions": phantom.regions.astype(np.float32),
        "bone_maturity": phantom.maturity.astype(np.float32),
    }


class Builder(tfds.core.GeneratorBasedBuilder):
    """Hand phantoms.

    Args:
      workers: threads that render; their number does not change the dataset.
    """

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {
        "2.0.0": "Anatomy from birth to adulthood, joints as in real hands, disturbances, truth of every bone.",
        "1.0.0": "First version: 29 bones, soft tissue, noise, pose.",
    }
    BUILDER_CONFIGS = [
        PhantomConfig(
            name="tiny",
            description="For the demo: small, background removed, on the registered canvas.",
            height=192,
            width=144,
            train=3600,
            validation=400,
            test=400,
            view="registered",
        ),
        PhantomConfig(
            name="small",
            description="Plain images at the paper's input size.",
            height=500,
            width=375,
            train=4000,
            validation=500,
            test=500,
        ),
        PhantomConfig(
            name="registered",
            description="For age models: background removed, on the registered canvas at a quarter of its size.",
            height=520,
            width=400,
            train=8000,
            validation=1000,
            test=1000,
            view="registered",
        ),
        PhantomConfig(
            name="raw",
            description="For segmentation and key points: as acquired, all disturbances on, in several shapes.",
            train=4000,
            validation=500,
            test=500,
            view="raw",
            shapes=((520, 400), (512, 320), (480, 480), (400, 520), (560, 416)),
        ),
        PhantomConfig(
            name="raw_tiny",
            description="For the demo's segmentation and key points: as raw, small, in one shape.",
            height=260,
            width=208,
            train=1200,
            validation=100,
            test=200,
            view="raw",
        ),
        *(
            PhantomConfig(
                name=f"only_{carrier}",
                description=f"As tiny, but the {carrier} alone show the age: methods of importance must point there.",
                height=192,
                width=144,
                train=3600,
                validation=200,
                test=200,
                view="registered",
                carrier=carrier,
            )
            for carrier in ("carpals", "metacarpals", "phalanges")
        ),
        PhantomConfig(
            name="full",
            description="As many, as large and as different in shape as RSNA's, all disturbances on.",
            train=12611,
            validation=1425,
            test=1000,
            view="raw",
            shapes=((2044, 1514), (1560, 1200), (1768, 1320), (2460, 1950), (1500, 1500), (2570, 1536)),
        ),
    ]

    def __init__(self, *, workers: int = 1, **kwargs: Any):
        self._workers = workers
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            metadata=tfds.core.MetadataDict(
                registered=self.builder_config.view == "registered", series=self.builder_config.series.as_json()
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": image_feature(self.builder_config),
                    "id": tfds.features.Text(),
                    "bone_age": tfds.features.Scalar(np.float32, doc="months"),
                    "male": tfds.features.Scalar(np.bool_),
                    "height": tfds.features.Scalar(np.int32, doc="pixels"),
                    "width": tfds.features.Scalar(np.int32, doc="pixels"),
                    "source": tfds.features.Text(doc="split and number within it"),
                    "true_bone_age": tfds.features.Scalar(np.float32, doc="months, before the noise of a reading"),
                    "mask": tfds.features.Image(shape=(None, None, 1), dtype=np.uint8, doc="255 inside the hand"),
                    "instances": tfds.features.Image(
                        shape=(None, None, 1), dtype=np.uint8, doc="n where anatomy.INSTANCES[n - 1] is, 0 for no bone"
                    ),
                    "key_points": tfds.features.Tensor(
                        shape=(len(anatomy.KEY_POINTS), 2), dtype=np.float32, doc="x, y in pixels of anatomy.KEY_POINTS"
                    ),
                    "joints": tfds.features.Tensor(
                        shape=(len(anatomy.JOINTS), 2), dtype=np.float32, doc="x, y in pixels of anatomy.JOINTS"
                    ),
                    "areas": tfds.features.Tensor(
                        shape=(len(anatomy.OSSIFICATION_AREAS), 4),
                        dtype=np.float32,
                        doc="boxes x0, y0, x1, y1 in pixels of anatomy.OSSIFICATION_AREAS",
                    ),
                    "regions": tfds.features.Tensor(
                        shape=(len(anatomy.CANVAS_REGIONS), 4, 2),
                        dtype=np.float32,
                        doc="corners x, y in pixels of anatomy.CANVAS_REGIONS",
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
        return {split: self._generate_examples(split, counts[split]) for split in SPLITS if counts[split]}

    def _generate_examples(self, split: str, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
        config, place = self.builder_config, SPLITS.index(split)
        ages, males = population.sample_ages(config.seed + 1_000_003 * place, count)
        readings = config.test_readings if split == "test" else 1
        labels = population.read_ages(config.seed + 1_000_003 * place + 1, ages, sd=config.rater_sd, readings=readings)
        draw = functools.partial(render_one, split=split, config=config)
        children = list(zip(range(count), ages.tolist(), males.tolist(), strict=True))
        rendered = parallel.ordered_map(draw, children, workers=self._workers, kind="thread")
        pairs = zip(children, rendered, strict=True)
        for (number, age, male), truth in parallel.progress(pairs, total=count, label=f"{split}: rendering"):
            name = child_id(split, number)
            yield (
                name,
                {
                    "id": name,
                    "bone_age": labels[number],
                    "true_bone_age": age,
                    "male": male,
                    "source": f"hand_phantom/{config.name}/{name}",
                    **truth,
                },
            )
