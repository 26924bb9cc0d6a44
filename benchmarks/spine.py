"""How many spine studies a second, against a loop that reads each file and infers each slice?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from torch.nn import functional

from benchmarks.dicom_reading import header
from benchmarks.timing import Row, compared
from jobs.dicom.pixels import read_voxels
from jobs.dicom.storage import storage_at
from jobs.engines.base import EngineInput
from jobs.engines.vertebra_heatmap import DEFAULT, VertebraHeatmap
from jobs.heatmaps.network import STRIDE, HeatmapNet
from jobs.heatmaps.weights import Weights, read_weights
from jobs.lumbar.dicom import write_series
from jobs.lumbar.draw import draw_spec
from jobs.lumbar.lumbar import generate_lumbar
from jobs.lumbar.series import study_series


def rows(work: Path) -> Iterator[Row]:
    """One study of the usual size, from its files to heatmaps on its grid, one network."""
    series = study_series(generate_lumbar(draw_spec(1)))[0]
    write_series(series, work / "study", 1, 1)
    folder = next(path.parent for path in sorted((work / "study").rglob("*.dcm")))
    weights = sorted(DEFAULT.glob("*.safetensors"))[:1]
    engine = VertebraHeatmap.parse({"weights": weights, "device": "cpu"})
    engine.load()
    plain = plain_network(read_weights(weights[0]))
    edge, count = header(folder).grid.shape[0], len(list(folder.iterdir()))
    yield compared(
        f"DICOM to heatmaps, {count} slices of {edge}×{edge}", lambda: ours(folder, engine),
        "pydicom.dcmread a file, infer a slice", lambda: theirs(folder, plain),
        "≥ 5 ×", rounds=7,
    )  # fmt: skip


def ours(folder: Path, engine: VertebraHeatmap) -> NDArray[np.float32]:
    """(member, level, x, y, z), every check made."""
    found = header(folder)
    image = read_voxels(storage_at(folder), found, "series").astype(np.float32)
    everywhere = np.ones(image.shape, bool)
    given = EngineInput("s", "t0", "none", {"t2w": image}, everywhere, found.grid)
    return engine.locate(given).heatmap


def plain_network(weights: Weights) -> tuple[HeatmapNet, float]:
    """The same parameters as PyTorch runs them by default, and the spacing they want."""
    net = HeatmapNet(weights.layout)
    net.load_state_dict(weights.state, strict=False)
    assert weights.preparation.spacing_mm is not None
    return net.eval(), weights.preparation.spacing_mm


def theirs(folder: Path, network: tuple[HeatmapNet, float]) -> NDArray[np.float32]:
    """(slice, level, row, column) by the plain loop, no check at all."""
    net, spacing_mm = network
    files = sorted(folder.iterdir())
    found = []
    for path in files:
        file = pydicom.dcmread(path)
        plane = torch.from_numpy(file.pixel_array.astype(np.float32))[None, None]
        low, high = np.percentile(plane, (0.5, 99.5))
        plane = ((plane - low) / (high - low)).clamp(0, 1)
        factor = float(file.PixelSpacing[0]) / spacing_mm
        small = functional.interpolate(plane, scale_factor=factor, mode="bilinear", antialias=True)
        h, w = small.shape[2:]
        with torch.inference_mode():
            maps = net(functional.pad(small, (0, -w % STRIDE, 0, -h % STRIDE))).softmax(1)
        maps = maps[:, 1:, :h, :w]
        found.append(functional.interpolate(maps, size=plane.shape[2:], mode="bilinear")[0].numpy())
    return np.stack(found)
