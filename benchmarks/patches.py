"""How fast do patches come from the store, against reading files anew and against memory?

All three give the same 64³ patches of two real patients (FLAIR, T1W, lesion truth), drawn alike,
through two worker processes each. Rounds are taken in turn; what a loader has prepared while
another was timed is a few batches of many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from benchmarks.timing import Row, pairs
from hpc.execute import execute
from hpc.run import make_plan, prepare_store
from jobs.patches.draw import Draw
from jobs.patches.loader import batches
from jobs.patches.sampler import Patch, PatchSource, Sampling
from jobs.workbench import Workbench
from lamstore.config import DatasetConfig, StudyConfig, render_config
from lamstore.ledger import LedgerFile
from lamstore.study import Study, create_study

PLACE = "cross_sectional/MNI"
CHANNELS = ("flair", "t1w")
SAMPLING = Sampling(CHANNELS)
SIZE, WORKERS = 2, 2
MANY, FEW = 150, 12
"""Items in a round: of a fast loader, of a slow one."""
IN_MEMORY = "all of it in memory, normalized"
FROM_FILES = "MONAI LoadImage + SpatialCrop, .nii.gz"


def ready(data: Path, path: Path) -> Study:
    """A study of the annotated patients, ingested and nothing else."""
    dataset = DatasetConfig(
        adapter="open-ms-mni", root=data / PLACE, modalities=CHANNELS, optional_modalities=()
    )
    study = create_study(path, render_config(StudyConfig(dataset=dataset)))
    plan = make_plan(study)
    prepare_store(plan)
    bench = Workbench(study)
    with LedgerFile(study.ledger.folder, "bench", {}) as ledger:
        for unit in plan.wanted.ingest:
            execute(bench, ledger, unit, again=False)
    return study


class _Memory(PatchSource):
    """The same patches out of whole normalized arrays in memory, as views."""

    def hold(self) -> _Memory:
        """Read everything."""
        self._held = {case: self._whole(*case) for case in self.cases}
        return self

    def _whole(self, subject: str, timepoint: str) -> Patch:
        grid = self.indexes[subject].grid
        edges = (224, 272, 224)  # the scan with more than half a patch around it
        around = PatchSource.__new__(PatchSource)
        around.__dict__.update(self.__dict__)
        cut = type(self._cuts[subject]).of(grid, edges, None)
        around._cuts = {subject: cut}
        x, y, z = (float(n // 2) for n in grid.shape)
        return PatchSource.read(around, Draw(-1, subject, timepoint, (x, y, z), -1))

    def read(self, draw: Draw) -> Patch:
        """A view of what is held."""
        held, cut = self._held[draw.subject, draw.timepoint], self._cuts[draw.subject]
        affine = self.indexes[draw.subject].grid.matrix @ cut.to_subject(draw.centre)
        start = np.rint((affine - held.affine)[:3, 3] / np.diag(held.affine)[:3]).astype(int)
        x, y, z = (slice(a, a + n) for a, n in zip(start, cut.edges, strict=True))
        box = (slice(None), x, y, z)
        return Patch(held.image[box], held.label[box], held.brain[box], held.present, affine, draw)


class _Files(Dataset[Any]):
    """The same patches out of the files, each read anew: MONAI's LoadImage and SpatialCrop."""

    def __init__(self, source: PatchSource, data: Path) -> None:
        self._source = source
        self._files: dict[str, list[Path]] = {}
        for subject, _ in source.cases:
            folder = data / PLACE / subject
            names = ("FLAIR_*", "T1_*", "GOLD_STANDARD*")
            self._files[subject] = [next(iter(folder.glob(name))) for name in names]

    @cached_property
    def _load(self) -> Any:
        from monai.transforms.io.array import LoadImage

        return LoadImage(reader="NibabelReader", image_only=True, ensure_channel_first=True)

    def __getitem__(self, number: int) -> list[torch.Tensor]:
        from monai.transforms.croppad.array import SpatialCrop

        draw = self._source.draw(number)
        box = self._source.box(draw)
        start, end = [side.start for side in box], [side.stop for side in box]
        crop = SpatialCrop(roi_start=start, roi_end=end)
        # Without the clone a worker would send the whole volume.
        files = self._files[draw.subject]
        return [torch.as_tensor(crop(self._load(path))).clone() for path in files]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_load"}


def _taking(loader: Iterator[Any], count: int) -> Callable[[], int]:
    return lambda: sum(1 for _ in islice(loader, count))


def patches(data: Path, work: Path) -> Iterator[Row]:
    """Patches a second from the store, against files and against memory."""
    study = ready(data, work / "patches")
    source = PatchSource(study, None, SAMPLING)
    memory = _Memory(study, None, SAMPLING).hold()
    _same(source, memory, data, study)
    endless: dict[str, Any] = {"steps": 10**9, "workers": WORKERS}
    ours = batches(source, SIZE, **endless)
    held = batches(memory, SIZE, **endless)
    yield _row("", ours, held, MANY * SIZE, MANY, IN_MEMORY, "≥ 0.7 ×")
    yield _row("", ours, _from_files(source, data), FEW, FEW, FROM_FILES, "≥ 15 ×")
    uncached = batches(PatchSource(study, None, SAMPLING, cache_bytes=0), SIZE, **endless)
    yield _row(", no chunk kept", uncached, held, MANY * SIZE, MANY, IN_MEMORY, "")


def _from_files(source: PatchSource, data: Path) -> Iterator[Any]:
    loader: Any = DataLoader(
        _Files(source, data),
        batch_size=None,
        sampler=range(10**9),
        num_workers=WORKERS,
        multiprocessing_context="forkserver",
        worker_init_fn=_one_thread,
    )
    return iter(loader)


def _row(
    how: str,
    ours: Iterator[Any],
    theirs: Iterator[Any],
    patches: int,
    items: int,
    peer: str,
    target: str,
) -> Row:
    """`theirs` gives so many patches in so many items; ours gives `SIZE` an item, `MANY` items."""
    a, b, ratio = pairs(_taking(ours, MANY), _taking(theirs, items), 5)
    mine = MANY * SIZE
    return Row(
        f"64³ patches of FLAIR, T1W and truth, two workers{how}", f"{mine / a:.0f} /s",
        peer, f"{patches / b:.1f} /s", f"{ratio * mine / patches:.2f} ×", target,
    )  # fmt: skip


def _same(source: PatchSource, memory: PatchSource, data: Path, study: Study) -> None:
    """Refuse to compare what is not the same."""
    raw = PatchSource(study, None, Sampling(CHANNELS, normalized=False))
    files = _Files(source, data)
    for number in range(10):
        one, other = source[number], memory[number]
        for name in ("image", "label", "brain"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
        flair = _turned(files[number][0], raw[number])
        assert flair.shape != (64, 64, 64) or np.array_equal(flair, raw[number].image[0])


def _turned(tensor: torch.Tensor, patch: Patch) -> NDArray[np.float32]:
    # The files have x towards the left, patches towards the right.
    assert (np.diag(patch.affine)[:3] > 0).all()
    return np.asarray(tensor)[0, ::-1]


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
