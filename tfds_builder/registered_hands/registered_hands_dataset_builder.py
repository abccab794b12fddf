"""TFDS builder of registered hands, from the files of `boneage_jax.data.registered`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from boneage_jax import anatomy
from boneage_jax.data.registered import Parts


@dataclasses.dataclass
class RegisteredConfig(tfds.core.BuilderConfig):
    """The dataset's name, and the regions that it holds.

    Attributes:
      regions: names; the first one is stored as `image` too.
    """

    regions: tuple[str, ...] = ()


class Builder(tfds.core.GeneratorBasedBuilder):
    """Registered hands.

    Args:
      parts: finished images by split.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}

    def __init__(self, *, parts: Mapping[str, Parts] | None = None, **kwargs: Any):
        self._parts = parts or {}
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        picture = tfds.features.Image(shape=(None, None, 1), dtype=np.uint8)
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": picture,
                    **{f"region_{name}": picture for name in self.builder_config.regions},
                    "mask": tfds.features.Image(
                        shape=(None, None, 1), dtype=np.uint8, doc="255 inside the hand, in the original's pixels"
                    ),
                    "id": tfds.features.Text(),
                    "bone_age": tfds.features.Scalar(np.float32, doc="months; NaN where unknown"),
                    "male": tfds.features.Scalar(np.bool_),
                    "height": tfds.features.Scalar(np.int32, doc="of the original, in pixels"),
                    "width": tfds.features.Scalar(np.int32, doc="of the original, in pixels"),
                    "source": tfds.features.Text(),
                    "key_points": tfds.features.Tensor(
                        shape=(len(anatomy.KEY_POINTS), 2), dtype=np.float32, doc="x, y in the original; NaN for none"
                    ),
                    "to_canvas": tfds.features.Tensor(
                        shape=(2, 3), dtype=np.float64, doc="acts on x, y, 1 of the original; NaN for none"
                    ),
                    "inverted": tfds.features.Scalar(np.bool_, doc="whether bone was dark"),
                    "good": tfds.features.Scalar(np.bool_, doc="whether nothing speaks against it"),
                    "flags": tfds.features.Text(doc="what does, separated by ', '"),
                    "measures": tfds.features.Text(doc="JSON"),
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        del dl_manager
        return {split: self._generate_examples(parts) for split, parts in self._parts.items()}

    def _generate_examples(self, parts: Parts) -> Iterator[tuple[str, dict[str, Any]]]:
        yield from parts.examples()
