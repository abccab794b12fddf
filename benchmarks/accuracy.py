"""Error and wall time against the peer's recipe: PyTorch, the same pictures, the same number of examples seen.

    pip install -e '.[reference]'
    boneage data build hand_phantom/tiny --out data
    python -m benchmarks.accuracy --data data [--epochs 3]

The peer: the co-author's released recipe (neuro-inc/ml-recipe-bone-age) for the whole hand. m46, batch 8, Adam 2e-5
with betas 0.5 and 0.999, dropout 0.3, grey levels (x - 127.5) / 127.5, shift and zoom 5%, 5 degrees, gamma 0.8 to 1.2,
mean absolute error on (months - 120) / 120; no sex. Ours: the paper's
experiment (`configs/paper/experiment.py`, the same network, no sex) and the best config (`configs/best.py`: three
regions, sex, label distributions). A smaller canvas than the paper's, so that a CPU can do it.
Phantoms: no figure of these is one of real children.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks.common import hardware, save, versions
from boneage_jax.analysis.scores import Score, mae
from boneage_jax.config import loading
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset
from boneage_jax.runs import run_folder
from boneage_jax.runs.inference import predict_ages
from boneage_jax.train.loop import train

HEIGHT, WIDTH = 170, 128
"""Six poolings of 3 x 3 leave a pixel of it; the paper's 500 x 375 leave 6 x 4."""
WIDTHS = (32, 64, 128, 128, 256, 384)
BATCH = 8


@dataclasses.dataclass(frozen=True)
class Side:
    """What a side reached.

    Attributes:
      error: mean absolute error on the test split, in months.
      seconds: of training, compilation and reading included.
      examples: seen in training.
    """

    error: Score
    seconds: float
    examples: int


def pictures(dataset: Dataset, split: str, config: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns a split's pictures, as our side reads them, and their readings in months."""
    records = dataset.split(split, view_of(config.data))
    rows = [records[n] for n in range(len(records))]
    return np.stack([row["image"] for row in rows]), np.array([row["bone_age"] for row in rows])


def peer(dataset: Dataset, config: Any, examples: int) -> Side:
    """Trains the co-author's recipe in PyTorch."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.manual_seed(0)
    start = time.perf_counter()
    images, months = pictures(dataset, "train", config)
    layers: list[nn.Module] = []
    channels = 1
    for width in WIDTHS:
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ELU(), nn.BatchNorm2d(width)]
        layers += [nn.Conv2d(width, width, 1), nn.ELU(), nn.BatchNorm2d(width), nn.MaxPool2d(3, 2)]
        channels = width
    layers += [nn.Flatten(), nn.Dropout(0.3), nn.LazyLinear(2048), nn.ELU()]
    layers += [nn.Dropout(0.3), nn.Linear(2048, 2048), nn.ELU(), nn.Linear(2048, 1)]
    model = nn.Sequential(*layers)
    model(torch.zeros(2, 1, HEIGHT, WIDTH))  # the first dense layer learns its size here
    model = model.to(memory_format=torch.channels_last)
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    optimizer = torch.optim.Adam(model.parameters(), 2e-5, betas=(0.5, 0.999))
    order = np.random.default_rng(0)
    waiting = np.array([], int)
    model.train()
    for step in range(examples // BATCH):
        if len(waiting) < BATCH:
            waiting = np.concatenate([waiting, order.permutation(len(images))])
        chosen, waiting = waiting[:BATCH], waiting[BATCH:]
        batch = torch.from_numpy(images[chosen])[:, None].float() / 255
        batch = batch ** torch.empty(BATCH, 1, 1, 1).uniform_(0.8, 1.2)
        angle = torch.deg2rad(torch.empty(BATCH).uniform_(-5, 5))
        zoom = torch.empty(BATCH).uniform_(0.95, 1.05)
        shift = torch.empty(BATCH, 2).uniform_(-0.1, 0.1)  # of half the picture: 5% of it
        c, s, ratio = torch.cos(angle) / zoom, torch.sin(angle) / zoom, HEIGHT / WIDTH
        rows = [torch.stack([c, -s * ratio, shift[:, 0]], -1), torch.stack([s / ratio, c, shift[:, 1]], -1)]
        grid = F.affine_grid(torch.stack(rows, 1), [BATCH, 1, HEIGHT, WIDTH], align_corners=False)
        batch = F.grid_sample(batch, grid, align_corners=False) * 2 - 1
        target = torch.from_numpy((months[chosen] - 120) / 120).float()
        optimizer.zero_grad()
        loss = (model(batch.contiguous(memory_format=torch.channels_last))[:, 0] - target).abs().mean()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"  peer, step {step} of {examples // BATCH}: {120 * loss.item():.1f} months", flush=True)
    seconds = time.perf_counter() - start
    model.eval()
    tested, read = pictures(dataset, "test", config)
    with torch.no_grad():
        said = [model(torch.from_numpy(part)[:, None].float() / 127.5 - 1) for part in np.array_split(tested, 20)]
    predicted = torch.cat(said)[:, 0].numpy() * 120 + 120
    return Side(mae(predicted - read), seconds, examples)


def ours(dataset: Dataset, config: Any, folder: pathlib.Path) -> Side:
    """Trains one of our configs and scores what `boneage evaluate` would."""
    start = time.perf_counter()
    train(config, folder)
    seconds = time.perf_counter() - start
    loaded = run_folder.load(folder)
    records = dataset.split("test", view_of(config.data))
    read, _ = records.labels()
    return Side(mae(predict_ages(loaded, records).months - read), seconds, loaded.step * config.train.batch_size)


def main() -> None:
    """Trains the three, one after the other, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    parser.add_argument("--dataset", default="hand_phantom/tiny")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    dataset = Dataset.open(options.data, options.dataset)
    examples = options.epochs * dataset.splits["train"]
    common = [
        f"--config.data.dir={options.data}", f"--config.data.name={options.dataset}", "--config.log.tensorboard=False",
        f"--config.train.length={examples} examples", f"--config.eval.every={examples} examples",
        f"--config.checkpoint.every={examples} examples",
    ]  # fmt: skip
    paper = loading.load(
        ["--config=configs/paper/experiment.py:m46-regression-A-all", *common,
         f"--config.data.height={HEIGHT}", f"--config.data.width={WIDTH}"]
    )  # fmt: skip
    best = loading.load(
        ["--config=configs/best.py", *common, "--config.data.height=112", "--config.data.width=112",
         "--config.model.depth=18", "--config.model.widths=(16,32,64,128)", "--config.train.batch_size=32",
         "--config.augment.shift=0.02", "--config.augment.zoom=0.03", "--config.augment.rotation=3.0",
         "--config.train.ema=0.99"]
    )  # fmt: skip
    sides: dict[str, Side] = {}
    with tempfile.TemporaryDirectory() as scratch:
        sides["ours, paper's experiment"] = ours(dataset, paper, pathlib.Path(scratch) / "paper")
        sides["ours, best"] = ours(dataset, best, pathlib.Path(scratch) / "best")
    sides["peer's recipe, PyTorch"] = peer(dataset, paper, examples)
    print(f"{versions('jax', 'flax', 'torch')}; {hardware()}")
    print(
        f"{options.dataset}, {dataset.splits['test']} phantoms; {examples:,} examples seen; m46 at {HEIGHT} x {WIDTH}"
    )
    theirs = sides["peer's recipe, PyTorch"]
    for name, side in sides.items():
        error = side.error
        print(
            f"{name:<24} MAE {error.value:6.2f} months [{error.low:.2f}, {error.high:.2f}]   ratio "
            f"{error.value / theirs.error.value:.2f} (bar 0.8)   {side.seconds:6.0f} s"
        )
    save(options.json, {name: dataclasses.asdict(side) for name, side in sides.items()})


if __name__ == "__main__":
    main()
