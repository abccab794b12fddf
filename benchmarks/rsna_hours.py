"""The least time of a full training run on the RSNA images, from the compiled step and the chips' published rates.

    pip install -e '.[tpu]'            # libtpu compiles for TPUs that are not there; it runs on any Linux machine
    python -m benchmarks.rsna_hours [--topology v5e:2x4] [--images 12611]

For each recipe the real training step is compiled for the slice in bfloat16, and its operations and bytes are held
against the rates: nobody can be faster than this bound, and nobody reaches it. For the H200 the same counts stand,
compiled for one chip: its own compiler fuses otherwise. A measured step time is worth more: `benchmarks.train_step`.
"""

from __future__ import annotations

import argparse
import pathlib

from benchmarks.common import save, versions
from boneage_jax.config import Duration, ExperimentConfig, loading
from boneage_jax.planning.chips import H200, V5E
from boneage_jax.planning.cost import step_cost, tpu_mesh

RECIPES = {
    "m46 (configs/m46.py)": ["--config=configs/m46.py"],
    "ResNet-50 (configs/paper/experiment.py:resnet50-regression-A-all)": [
        "--config=configs/paper/experiment.py:resnet50-regression-A-all"
    ],
    "best (configs/best.py)": ["--config=configs/best.py"],
}
STILL = ("--config.augment.shift=0.0", "--config.augment.zoom=0.0", "--config.augment.rotation=0.0")
"""Without resampling: what of the bytes are gathers of the augmentation, which compilers count very high."""


def main() -> None:
    """Compiles and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", default="v5e:2x4", help="slice of TPU v5e (default: v5e:2x4, eight chips)")
    parser.add_argument("--images", type=int, default=12611, help="of the training split (default: RSNA's)")
    parser.add_argument("--only", default="", help="recipes whose names begin so")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    mesh, one = tpu_mesh(options.topology), tpu_mesh("v5e:1x1")
    print(f"{versions('jax', 'libtpu')}; {options.images:,} images; bounds, not measurements")
    found: dict[str, dict[str, float]] = {}
    for name, arguments in RECIPES.items():
        if not name.startswith(options.only):
            continue
        config = loading.load([*arguments, "--config.model.dtype=bfloat16"])
        still = loading.load([*arguments, "--config.model.dtype=bfloat16", *STILL])
        steps = _steps(config, options.images)
        on_slice, alone = step_cost(still, mesh), step_cost(still, one)
        moving = step_cost(config, mesh)
        found[name] = {
            "steps": steps,
            "flops_an_image": on_slice.flops / on_slice.images,
            "bytes_an_image": on_slice.bytes / on_slice.images,
            "bytes_an_image_with_augmentation": moving.bytes / moving.images,
            "memory_a_chip": moving.memory,
            "v5e_hours": steps * on_slice.bound(V5E) / 3600,
            "h200_hours": steps * alone.bound(H200) / 3600,
        }
        print(name)
        for key, value in found[name].items():
            print(f"  {key:<36}{value:,.4g}", flush=True)
    save(options.json, {"topology": options.topology, "images": options.images, "recipes": found})


def _steps(config: ExperimentConfig, images: int) -> int:
    return Duration.parse(config.train.length).in_steps(batch_size=config.train.batch_size, examples_per_epoch=images)


if __name__ == "__main__":
    main()
