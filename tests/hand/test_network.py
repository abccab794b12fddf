"""Sizes of batches: by the number of inputs alone."""

import pytest

from boneage_jax.hand.network import batch_of


@pytest.mark.parametrize(
    ("count", "most", "devices", "size"),
    [
        (1, 16, 1, 1), (2, 16, 1, 4), (4, 16, 1, 4), (5, 16, 1, 16), (16, 16, 1, 16),
        (1, 1, 1, 1), (2, 3, 1, 3), (1, 3, 1, 1), (2, 2, 1, 2),
        (1, 16, 8, 8), (5, 16, 8, 16), (5, 9, 8, 16),
    ],
)  # fmt: skip
def test_the_number_of_inputs_chooses_the_batch(count, most, devices, size):
    assert batch_of(count, most, devices=devices) == size
