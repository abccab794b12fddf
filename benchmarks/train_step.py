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
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.common import hardware, in_turn, median, paired_ratio, save, versions
from boneage_jax import experiment, tasks
from boneage_jax.train.mesh import make_mesh, to_devices
from boneage_jax.train.optimizer import make_optimizer, make_schedule
from boneage_jax.train.state import initial_state
from boneage_jax.train.step import compile_train_step

HEIGHT, WIDTH = 500, 375


def jax_side(batch: int, dtype: str, kernels: str, augment: bool) -> Callable[[], float]:
    """Seconds of one compiled step, its batch already on the device."""
    arguments = [
        "--config=configs/m46.py", f"--config.train.batch_size={batch}", f"--config.model.dtype={dtype}",
        f"--config.model.kernels={kernels}", "--config.optimizer.clip_norm=0.0",
    ]  # fmt: skip
    if not augment:
        arguments += [f"--config.augment.{name}=0.0" for name in ("shift", "zoom", "rotation", "gamma")]
    config = experiment.load(arguments)
    schedule = make_schedule(config.optimizer, total_steps=1000, warmup_steps=0)
    optimizer = make_optimizer(config.optimizer, schedule)
    mesh = make_mesh(1)
    network, state = initial_state(config, optimizer, mesh)
    step = compile_train_step(
        mesh, config=config, network=network, task=tasks.build(config.task), optimizer=optimizer, schedule=schedule
    )
    generator = np.random.default_rng(0)
    inputs = to_devices(
        {
            "image": generator.integers(0, 256, (batch, HEIGHT, WIDTH), dtype=np.uint8),
            "male": np.ones(batch, np.float32),
            "bone_age": generator.uniform(1, 228, batch).astype(np.float32),
            "slot": np.arange(batch, dtype=np.int32),
            "mask": np.ones(batch, np.float32),
        },
        mesh,
    )

    def measure() -> float:
        nonlocal state
        start = time.perf_counter()
        state, metrics = step(state, inputs)
        jax.block_until_ready((state, metrics))
        return time.perf_counter() - start

    for _ in range(2):
        measure()
    return measure


def torch_side(batch: int, dtype: str, channels_last: bool, compiled: bool) -> Callable[[], float]:
    """Seconds of one step of the same network in PyTorch."""
    import torch
    from torch import nn

    device = "cuda" if torch.cuda.is_available() else "cpu"
    layers: list[nn.Module] = []
    channels = 1
    for width in (32, 64, 128, 128, 256, 384):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ELU(), nn.BatchNorm2d(width)]
        layers += [nn.Conv2d(width, width, 1), nn.ELU(), nn.BatchNorm2d(width), nn.MaxPool2d(3, 2)]
        channels = width
    layers += [nn.Flatten(), nn.Dropout(0.3), nn.Linear(9216, 2048), nn.ELU()]
    layers += [nn.Dropout(0.3), nn.Linear(2048, 2048), nn.ELU(), nn.Linear(2048, 1)]
    model: Any = nn.Sequential(*layers).to(device)
    assert sum(p.numel() for p in model.parameters()) == 24_751_201
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    images = torch.randint(0, 256, (batch, 1, HEIGHT, WIDTH), dtype=torch.uint8, device=device)
    target = torch.rand(batch, 1, device=device)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    if compiled:
        model = torch.compile(model)

    def measure() -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        inputs = images.float() / 127.5 - 1
        if channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            output = model(inputs)
        loss = (output.float() - target).abs().mean()
        loss.backward()
        optimizer.step()
        loss.item()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for _ in range(2):
        measure()
    return measure


def waiting() -> dict[str, float]:
    """Trains m46 for some steps on phantoms through the whole loop; returns what its own log says."""
    from boneage_jax.data import build
    from boneage_jax.train.loop import train

    with tempfile.TemporaryDirectory() as scratch:
        data = pathlib.Path(scratch) / "data"
        dataset = build.build("hand_phantom/small", data, workers=2, counts={"train": 64, "validation": 4, "test": 4})
        config = experiment.load(
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
    values = in_turn(options.rounds, sides)
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
