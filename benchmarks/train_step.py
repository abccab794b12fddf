"""One training step of m46 at 500 x 375, against the same architecture in PyTorch; and the time spent waiting for data.

    pip install -e '.[reference]'
    python -m benchmarks.train_step                 # on a CPU: float32, batch 4, against eager PyTorch
    python -m benchmarks.train_step --waiting       # share of a real training loop spent waiting for data
    python -m benchmarks.train_step --batch 64      # on a GPU: bfloat16 too, against torch.compile, channels last

Sides on a CPU: `torch` as written, `torch channels-last` with the layout that PyTorch recommends, `jax plain` as XLA
differentiates it, `jax` with this project's kernels (`model.kernels=auto`). All do forward, backward and Adam on the
same shapes, in turn, with all cores; with `--augment` ours augments too, for which PyTorch's side has no counterpart.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile
from collections.abc import Callable

import jax

from benchmarks import step_jax, step_torch
from benchmarks.common import hardware, measure_alternately, median, paired_ratio, save, versions
from boneage_jax.config import loading

HEIGHT, WIDTH = 500, 375


def jax_side(batch: int, dtype: str, kernels: str, augment: bool) -> Callable[[], float]:
    """Seconds of one compiled step, its batch already on the device."""
    side = step_jax.ready(step_jax.config_of("m46", batch=batch, dtype=dtype, kernels=kernels, augment=augment))
    side.seconds(2)
    return lambda: side.seconds(1)


def torch_side(batch: int, dtype: str, channels_last: bool, compiled: bool) -> Callable[[], float]:
    """Seconds of one step of the same network in PyTorch."""
    network = step_torch.network_of("m46", (HEIGHT, WIDTH))
    assert step_torch.parameters(network) == 24_751_201
    seconds = step_torch.ready(
        network, (HEIGHT, WIDTH), batch=batch, dtype=dtype, channels_last=channels_last, compiled=compiled
    )
    seconds(2)
    return lambda: seconds(1)


def waiting() -> dict[str, float]:
    """Trains m46 for some steps on phantoms through the whole loop; returns what its own log says."""
    from boneage_jax.train.loop import train
    from boneage_jax.workflows import build
    from boneage_jax.workflows.requests import BuildRequest

    with tempfile.TemporaryDirectory() as scratch:
        data = pathlib.Path(scratch) / "data"
        dataset = build.build(
            BuildRequest("hand_phantom/small", out=data, workers=2, counts={"train": 64, "validation": 4, "test": 4})
        )
        config = loading.load(
            [
                "--config=configs/m46.py",
                f"--config.data.dir={data}",
                f"--config.data.name={dataset.name}",
                "--config.train.batch_size=4",
                "--config.eval.batch_size=4",
                "--config.train.length=20 steps",
                "--config.log.every=10 steps",
                "--config.eval.every=20 steps",
                "--config.checkpoint.every=20 steps",
                "--config.log.tensorboard=False",
            ]
        )
        train(config, pathlib.Path(scratch) / "run")
        lines = [
            json.loads(line) for line in (pathlib.Path(scratch) / "run" / "metrics.jsonl").read_text().splitlines()
        ]
    (last,) = [line for line in lines if line["step"] == 20 and "waiting_for_data" in line]
    return {"waiting_for_data": last["waiting_for_data"], "images_per_second": last["images_per_second"]}


def main() -> None:
    """Measures all sides in turn and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--augment", action="store_true", help="let the JAX side augment too")
    parser.add_argument("--waiting", action="store_true", help="measure the share of time spent waiting for data only")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the results too")
    options = parser.parse_args()
    device = jax.devices()[0]
    print(f"{hardware()}; {device.platform} {device.device_kind}; {versions('jax', 'jaxlib', 'flax', 'torch')}")
    if options.waiting:
        found = waiting()
        print(f"m46, batch 4, whole loop: waiting for data {100 * found['waiting_for_data']:.2f}% of the time, "
              f"{found['images_per_second']:.2f} images/s")  # fmt: skip
        save(options.json, {"hardware": hardware(), "results": found})
        return

    gpu = device.platform == "gpu"
    sides: dict[str, Callable[[], float]] = {}
    for dtype in ("float32", "bfloat16") if gpu else ("float32",):
        sides[f"torch {dtype}"] = torch_side(options.batch, dtype, channels_last=False, compiled=False)
        sides[f"torch channels-last {dtype}"] = torch_side(options.batch, dtype, channels_last=True, compiled=False)
        if gpu:
            sides[f"torch.compile channels-last {dtype}"] = torch_side(
                options.batch, dtype, channels_last=True, compiled=True
            )
        sides[f"jax plain {dtype}"] = jax_side(options.batch, dtype, "plain", options.augment)
        sides[f"jax {dtype}"] = jax_side(options.batch, dtype, "auto", options.augment)
    values = measure_alternately(options.rounds, sides)
    print(
        f"m46 at {HEIGHT} x {WIDTH}, batch {options.batch}, forward, backward and Adam; {options.rounds} rounds in turn"
    )
    print(f"{'side':<38}{'s a step':>10}{'images/s':>10}{'time of torch':>15}{'of torch ch.-last':>19}")
    results = {}
    for name, measured in values.items():
        dtype = name.rsplit(" ", 1)[1]
        eager, last = (
            paired_ratio(values, name, f"torch {dtype}"),
            paired_ratio(values, name, f"torch channels-last {dtype}"),
        )
        seconds = median(measured)
        results[name] = {"seconds": seconds, "of_torch": eager, "of_torch_channels_last": last}
        print(f"{name:<38}{seconds:>10.3f}{options.batch / seconds:>10.2f}{eager:>15.2f}{last:>19.2f}")
    save(options.json, {"hardware": hardware(), "results": results})


if __name__ == "__main__":
    main()
