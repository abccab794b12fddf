"""The same training step in PyTorch, ready to be timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

WIDTHS = (32, 64, 128, 128, 256, 384)
"""Of m46."""


def network_of(name: str, size: tuple[int, int]) -> Any:
    """Returns m46 or ResNet-50 for grey pictures of a height and width, with one output.

    Raises:
      ImportError: without PyTorch.
    """
    from torch import nn

    if name == "resnet50":
        return _resnet50()
    layers: list[nn.Module] = []
    channels, (height, width) = 1, size
    for made in WIDTHS:
        layers += [nn.Conv2d(channels, made, 3, padding=1), nn.ELU(), nn.BatchNorm2d(made)]
        layers += [nn.Conv2d(made, made, 1), nn.ELU(), nn.BatchNorm2d(made), nn.MaxPool2d(3, 2)]
        channels, height, width = made, (height - 3) // 2 + 1, (width - 3) // 2 + 1
    layers += [nn.Flatten(), nn.Dropout(0.3), nn.Linear(channels * height * width, 2048), nn.ELU()]
    layers += [nn.Dropout(0.3), nn.Linear(2048, 2048), nn.ELU(), nn.Linear(2048, 1)]
    return nn.Sequential(*layers)


def _resnet50() -> Any:
    """ResNet-50 as torchvision and timm have it, written out: their versions often do not fit PyTorch's."""
    from torch import nn

    def unit(inputs: int, outputs: int, size: int, stride: int = 1) -> Any:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False), nn.BatchNorm2d(outputs)
        )

    class Bottleneck(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int):
            super().__init__()
            self.body = nn.Sequential(
                unit(inputs, width, 1), nn.ReLU(inplace=True), unit(width, width, 3, stride), nn.ReLU(inplace=True),
                unit(width, 4 * width, 1),
            )  # fmt: skip
            changes = stride != 1 or inputs != 4 * width
            self.shortcut = unit(inputs, 4 * width, 1, stride) if changes else nn.Identity()
            self.last = nn.ReLU(inplace=True)

        def forward(self, x: Any) -> Any:
            return self.last(self.body(x) + self.shortcut(x))

    layers: list[nn.Module] = [unit(1, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)]
    channels = 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for n in range(blocks):
            layers.append(Bottleneck(channels, width, 2 if stage and n == 0 else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1))


def parameters(network: Any) -> int:
    """Returns the number of weights."""
    return sum(one.numel() for one in network.parameters())


def ready(
    network: Any, size: tuple[int, int], *, batch: int, dtype: str, channels_last: bool, compiled: bool
) -> Callable[[int], float]:
    """Returns a function that does steps on random pictures and returns the seconds until the last has ended.

    Forward, backward and Adam, on a GPU in the forms that PyTorch recommends there: cuDNN chooses its algorithms by
    trying them, float32 products may take TF32, Adam is one kernel.

    Args:
      network: from `network_of`.
      size: height and width in pixels.
      batch: pictures a step.
      dtype: `bfloat16` for autocast, or `float32`.
      channels_last: memory layout of pictures and kernels.
      compiled: whether `torch.compile` compiles it.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    model = network.to(device)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=device == "cuda")
    if compiled:
        model = torch.compile(model)
    images = torch.randint(0, 256, (batch, 1, *size), dtype=torch.uint8, device=device)
    target = torch.rand(batch, 1, device=device)
    model.train()

    def seconds(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
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

    return seconds
