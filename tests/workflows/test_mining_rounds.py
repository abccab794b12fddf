"""Which predicted masks a round of mining hands on, from its files alone."""

import pytest

from boneage_jax.config import default_config, validate
from boneage_jax.workflows.mining import rounds
from boneage_jax.workflows.mining.folder import MiningFolder
from boneage_jax.workflows.requests import MiningRequest


@pytest.mark.parametrize(
    ("accept", "accepted"), [(0.5, {"even", "good/2"}), (0.3, {"even", "good/2", "weak"}), (1.0, set())]
)
def test_masks_at_or_above_the_threshold_are_accepted_unless_vetoed(tmp_path, accept, accepted):
    folder = MiningFolder(tmp_path)
    scored = folder.round(0)
    scored.path.mkdir(parents=True)
    rows = {"even": 0.5, "good/2": 0.9, "best": 0.97, "weak": 0.499, "none": 0.0}
    table = "".join(f"{image_id},{score}\n" for image_id, score in rows.items())
    (scored.path / "scores.csv").write_text(f"id,score\n{table}")
    folder.veto.write_text("# looked at by a person\nbest  # the thumb is missing\n\n")
    found = rounds._accepted(MiningRequest(validate(default_config()), tmp_path, accept=accept), folder, scored)
    assert set(found) == accepted
    assert all(path == scored.predicted / f"{image_id}.png" for image_id, path in found.items())
