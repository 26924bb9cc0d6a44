"""How many spine studies a second, against a loop that reads each file and infers each slice?

Both sides go from DICOM files to the same maps: the mean over the same networks, one a level, on
the pixels of the image. The loop is what one would write: pydicom file by file, the series scaled
by its percentiles, then slice by slice resized, every network as PyTorch runs it by default
(float32), maps resized back. Both sides are one process with as many threads (processor time on
one thread, wall time on two); the last row lets two of our workers run against one such loop, as
the local executor does. Each side takes several studies in its turn, as of a cohort: a study alone
would pay for the memory that the other side gave back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch.nn import functional

from benchmarks.dicom_reading import header
from benchmarks.timing import Row, compared
from jobs.dicom.pixels import read_voxels
from jobs.dicom.storage import storage_at
from jobs.engines.base import EngineInput, Localization
from jobs.engines.vertebra_heatmap import DEFAULT, VertebraHeatmap
from jobs.heatmaps.network import STRIDE, HeatmapNet
from jobs.heatmaps.weights import Weights, read_weights
from jobs.locate import image_heatmap, stored_heatmap
from jobs.lumbar.dicom import write_series
from jobs.lumbar.draw import draw_spec
from jobs.lumbar.lumbar import generate_lumbar
from jobs.lumbar.series import study_series
from lamstore.grid import Grid

ROUNDS = 7
STUDIES = 4
"""In a turn."""
TARGET = "≥ 5 ×"
PEER = "pydicom.dcmread a file, infer a slice"
Plain = tuple[list[HeatmapNet], float, int]
"""Networks, the spacing they want, rows and columns that they see at least."""


def rows(work: Path) -> Iterator[Row]:
    """One study of the usual size, from its files to heatmaps, with the networks of the engine."""
    folder = study(work)
    engine = VertebraHeatmap.parse({"device": "cpu"})
    engine.load()
    plain = plain_networks([read_weights(p) for p in sorted(DEFAULT.glob("*.safetensors"))])
    edge, count = header(folder).grid.shape[0], len(list(folder.iterdir()))
    what = (
        f"{STUDIES} × DICOM to heatmaps, {count} slices of {edge}×{edge}, {len(plain[0])} networks"
    )
    before = torch.get_num_threads()
    for threads in sorted({1, min(2, os.cpu_count() or 1)}):
        torch.set_num_threads(threads)
        # On one thread processor time: other work on the machine does not count.
        clock = time.process_time if threads == 1 else time.perf_counter
        with threadpool_limits(threads):  # NumPy's own threads too, as in our workers
            yield compared(
                f"{what}, threads: {threads}", repeated(lambda: ours(folder, engine)),
                PEER, repeated(lambda: theirs(folder, plain)), TARGET, rounds=ROUNDS, clock=clock,
            )  # fmt: skip
            yield compared(
                f"the same, maps on the networks' own {_own(folder, engine)} pixels",
                repeated(lambda: located(folder, engine)), f"{PEER}, maps as they come",
                repeated(lambda: theirs(folder, plain, back=False)), "–", ROUNDS, clock,
            )  # fmt: skip
    torch.set_num_threads(1)
    with ProcessPoolExecutor(2, get_context("spawn"), _begin) as pool:
        yield compared(
            f"{2 * STUDIES} studies on two workers, a thread each",
            lambda: list(pool.map(_ours, [folder] * 2 * STUDIES)),
            f"{PEER}, one process", repeated(lambda: theirs(folder, plain), 2 * STUDIES),
            TARGET, rounds=ROUNDS,
        )  # fmt: skip
    torch.set_num_threads(before)


def repeated(one: Callable[[], object], times: int = STUDIES) -> Callable[[], None]:
    """Calls `one` so many times."""

    def turn() -> None:
        for _ in range(times):
            one()

    return turn


def study(work: Path) -> Path:
    """Folder of the sagittal series of a generated study."""
    series = study_series(generate_lumbar(draw_spec(1)))[0]
    write_series(series, work / "study", 1, 1)
    return next(path.parent for path in sorted((work / "study").rglob("*.dcm")))


def ours(folder: Path, engine: VertebraHeatmap) -> NDArray[np.float16]:
    """(level, x, y, z) as they are stored, every check made."""
    found, grid = located(folder, engine)
    return stored_heatmap(found, grid)


def located(folder: Path, engine: VertebraHeatmap) -> tuple[Localization, Grid]:
    """Heatmaps on the networks' pixels, and the grid of the image."""
    found = header(folder)
    image = read_voxels(storage_at(folder), found, "series").astype(np.float32)
    everywhere = np.ones(image.shape, bool)
    given = EngineInput("s", "t0", "none", {"t2w": image}, everywhere, found.grid)
    return engine.locate(given), found.grid


def plain_networks(members: list[Weights]) -> Plain:
    """The same parameters as PyTorch runs them by default."""
    nets = [HeatmapNet(weights.layout).eval() for weights in members]
    for net, weights in zip(nets, members, strict=True):
        net.load_state_dict(weights.state, strict=False)
    preparation = members[0].preparation
    assert preparation.spacing_mm is not None
    return nets, preparation.spacing_mm, preparation.size


def theirs(folder: Path, networks: Plain, back: bool = True) -> NDArray[np.float32]:
    """(slice, level, row, column) by the plain loop, no check at all."""
    nets, spacing_mm, least = networks
    files = [pydicom.dcmread(path) for path in folder.iterdir()]
    files.sort(key=lambda file: float(file.ImagePositionPatient[0]))
    volume = np.stack([file.pixel_array for file in files]).astype(np.float32)
    low, high = np.percentile(volume, (0.5, 99.5))
    factor, found = float(files[0].PixelSpacing[0]) / spacing_mm, []
    size = [round(n * factor) for n in volume.shape[1:]]
    for image in volume:
        plane = ((torch.from_numpy(image)[None, None] - low) / (high - low)).clamp(0, 1)
        small = functional.interpolate(plane, size, mode="bilinear", antialias=True)
        h, w = small.shape[2:]
        top, left = (max(-n % STRIDE, least - n) for n in (h, w))
        framed = functional.pad(small, (left // 2, left - left // 2, top // 2, top - top // 2))
        with torch.inference_mode():
            maps = torch.stack([net(framed).softmax(1) for net in nets]).mean(0)
        maps = maps[:, 1:, top // 2 : top // 2 + h, left // 2 : left // 2 + w]
        if back:
            maps = functional.interpolate(maps, size=plane.shape[2:], mode="bilinear")
        found.append(maps[0].numpy())
    return np.stack(found)


def difference(folder: Path, engine: VertebraHeatmap, networks: Plain) -> float:
    """Largest difference of the two sides' maps."""
    mine = image_heatmap(*located(folder, engine)).transpose(3, 0, 2, 1)
    other = theirs(folder, networks)
    return float(min(np.abs(mine - o).max() for o in (other, other[::-1])))


_engine: list[VertebraHeatmap] = []


def _begin() -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)
    _engine.append(VertebraHeatmap.parse({"device": "cpu"}))
    _engine[0].load()


def _ours(folder: Path) -> int:
    return len(ours(folder, _engine[0]))


def _own(folder: Path, engine: VertebraHeatmap) -> str:
    shape = located(folder, engine)[0].heatmap.shape[-3:]
    return f"{shape[0]}×{shape[1]}"
