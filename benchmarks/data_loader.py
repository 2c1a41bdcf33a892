"""One epoch of 600 shuffled batches of 100 MNIST images as float32, without training.

`python benchmarks/data_loader.py [--repeats 7] [--out FILE]`. Systems take turns, so that a busy
moment of the machine hits all of them. PyTorch takes part where it is installed, twice: as its
manual shows it (one sample at a time), and with a BatchSampler (one index per batch), which few
people write. Each system starts from the uint8 images and must see the same sum of pixels.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

import needle as ndl
from needle import data

BATCH = 100
RESULTS = Path(__file__).parent / "results" / "data_loader.json"


def training_images() -> tuple[data.ImageDataset, str]:
    """Return MNIST where NEEDLE_DATA has it, else as many random images."""
    if os.environ.get("NEEDLE_DATA"):
        return data.mnist(download=False)[0], "MNIST"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60_000, 28, 28, 1)).astype(np.uint8)
    labels = rng.integers(0, 10, 60_000).astype(np.uint8)
    return data.ImageDataset(images, labels), "random images"


def needle_loader(dataset: data.ImageDataset) -> Iterable:
    return data.DataLoader(dataset, batch_size=BATCH, shuffle=True)


def torch_loaders(dataset: data.ImageDataset) -> dict[str, Iterable]:
    """Return PyTorch's two ways to load the same images, or nothing where it is not installed."""
    try:
        import torch
        from torch.utils import data as torch_data
    except ImportError:
        return {}

    class Images(torch_data.Dataset):
        images = torch.from_numpy(dataset.images.copy())
        labels = torch.from_numpy(dataset.labels.copy())

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, index):
            return self.images[index].float() / 255, self.labels[index]

    images = Images()
    by_batch = torch_data.BatchSampler(torch_data.RandomSampler(images), BATCH, drop_last=False)
    return {
        "torch, by sample": torch_data.DataLoader(images, batch_size=BATCH, shuffle=True),
        "torch, by batch": torch_data.DataLoader(images, sampler=by_batch, batch_size=None),
    }


def seconds_per_epoch(loader: Iterable) -> float:
    begin = time.perf_counter()
    for _batch in loader:
        pass
    return time.perf_counter() - begin


def sum_of_pixels(loader: Iterable) -> float:
    return sum(float(np.asarray(x).sum(dtype=np.float64)) for x, _ in loader)


def interleaved(run: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Return `repeats` samples of each function, taken in turns after one that is not counted."""
    samples: dict[str, list[float]] = {name: [] for name in run}
    for turn in range(repeats + 1):
        for name, function in run.items():
            value = function()
            if turn:
                samples[name].append(value)
    return samples


def version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    dataset, source = training_images()
    loaders = {"needle": needle_loader(dataset)} | torch_loaders(dataset)
    sums = {name: sum_of_pixels(loader) for name, loader in loaders.items()}
    if not np.allclose(list(sums.values()), sums["needle"], rtol=1e-9):
        raise SystemExit(f"the systems see different images: {sums}")
    run = {
        name: lambda loader=loader: seconds_per_epoch(loader) for name, loader in loaders.items()
    }
    samples = interleaved(run, options.repeats)
    needle_median = statistics.median(samples["needle"])
    print(f"{len(loaders['needle'])} batches of {BATCH}, {source}, {options.repeats} epochs each")
    for name, seconds in samples.items():
        median = statistics.median(seconds)
        print(f"{name:18} {median * 1e3:8.1f} ms  {median / needle_median:6.2f} x needle")
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    versions = {name: version_of(name) for name in ("numpy", "torch")} | {
        "python": platform.python_version(),
        "needle": getattr(ndl, "__version__", "source"),
    }
    record = {"source": source, "machine": machine, "versions": versions}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    record |= {"sum of pixels": sums, "seconds": samples}
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
