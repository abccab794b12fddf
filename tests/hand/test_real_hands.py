"""The shipped networks on real radiographs, against what people drew and set on them."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from boneage_jax import resources
from boneage_jax.anatomy import KEY_POINTS
from boneage_jax.canvas import hand_length
from boneage_jax.hand import masks
from boneage_jax.hand.pipeline import Settings
from boneage_jax.network_ref import NetworkRef
from boneage_jax.workflows.hand_networks import open_pipeline
from tests.conftest import REAL, needs_real

pytestmark = [pytest.mark.integration, needs_real]

HANDS = 24
"""Radiographs of each kind."""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """All real radiographs and annotations, unpacked."""
    if not (REAL / "rsna299").is_dir():
        pytest.skip("the real radiographs are not here")
    out = tmp_path_factory.mktemp("real")
    subprocess.run([sys.executable, REAL / "rsna299" / "unpack.py", "--out", out], check=True, capture_output=True)
    return out


@pytest.mark.parametrize("bundle", resources.shipped_bundles())
def test_masks_and_key_points_are_those_of_people(unpacked, bundle):
    files = {path.stem: path for path in (unpacked / "radiographs").rglob("*.png")}
    outlined = sorted((unpacked / "annotations" / "masks").glob("*.png"))[:HANDS]
    by_hand = set((unpacked / "annotations" / "by_hand.txt").read_text().split())
    stored = json.loads((unpacked / "annotations" / "key_points.json").read_text())
    people = {
        str(one["image_id"]): np.array(one["keypoints"]).reshape(3, 3)[:, :2]
        for one in stored["annotations"]
        if str(one["image_id"]) in by_hand
    }
    assert stored["categories"][0]["keypoints"] == list(KEY_POINTS)
    pointed = sorted(people, key=int)[:: len(people) // HANDS][:HANDS]

    def read(image_id):
        return cv2.imread(str(files[image_id]), cv2.IMREAD_GRAYSCALE)

    networks = NetworkRef.parse(bundle)
    with open_pipeline(networks, networks, Settings((), views=2, batch_size=HANDS)) as pipeline:
        found = pipeline.register([read(path.stem) for path in outlined])
        placed = pipeline.register([read(image_id) for image_id in pointed])
    truth = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127 for path in outlined]
    iou = [masks.iou(one.mask.inside, mask) for one, mask in zip(found, truth, strict=True)]
    assert np.mean(iou) > 0.93
    assert np.median(iou) > 0.95
    errors = np.array(
        [
            np.linalg.norm(hand.registration.key_points - people[image_id], axis=1) / hand_length(people[image_id])
            for image_id, hand in zip(pointed, placed, strict=True)
        ]
    )
    # People set fingertips a little beyond the tip: about 1% of the hand's length.
    assert (np.median(errors, axis=0) < 0.025).all()
    assert (errors.max(1) > 0.1).mean() <= 1 / HANDS
