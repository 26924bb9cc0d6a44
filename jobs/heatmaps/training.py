"""How is a localizer trained on generated normal spines, in minutes, on one core?

The spines are generated once and kept in memory as 8 bit; every batch is drawn from them anew
(`jobs.heatmaps.augment`). Members differ in their initial values and in their draws. The loss is
the cross-entropy with smooth targets: a map of the probability that a pixel is the landmark of a
level, which is what an uncertainty is read from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from jobs.heatmaps import LEVELS
from jobs.heatmaps.augment import Augmentation, Marks, augmented, targets
from jobs.heatmaps.inference import prepare
from jobs.heatmaps.network import SMALL, HeatmapNet, Layout
from jobs.heatmaps.sagittal import sagittal_view
from jobs.heatmaps.weights import Preparation
from jobs.lumbar.draw import draw_spec
from jobs.lumbar.lumbar import generate_lumbar
from jobs.lumbar.spec import Coverage, LumbarSpec
from lamstore.grid import Grid


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a member beside its seed.

    Attributes
    ----------
    spines : int
        Generated normals.
    unseen : float
        Share of them whose field of view ends above the sacrum.
    render_mm, kept_mm : float
        Rows and columns that are generated (coarser than a scanner's, which saves half the time)
        and kept (finer than the network's, so that networks of other spacings can share them).
    midline_mm : float
        Slices are drawn around the landmarks with this standard deviation, and 15 % anywhere.
    emphasis : float
        How much more a pixel at a landmark weighs than background.
    ramp : float
        Share of the steps over which motions and cuts grow from nothing to their full range. At
        first the chain of levels stands in the middle of the slice, and its place tells the levels
        apart; what a network learns from that, it then has to find in the anatomy. Without it the
        discs are found early, and which is which very late.
    steps, batch : int
    lr, decay : float
        Of AdamW; the rate rises over the first twentieth and falls to 0 in a straight line.
    """

    spines: int = 500
    unseen: float = 0.12
    render_mm: float = 1.0
    kept_mm: float = 1.5
    midline_mm: float = 10.0
    emphasis: float = 40.0
    ramp: float = 0.3
    steps: int = 1100
    batch: int = 16
    lr: float = 3e-3
    decay: float = 1e-4
    layout: Layout = SMALL
    preparation: Preparation = field(default_factory=lambda: Preparation(3.4, 96, (0.5, 99.5)))
    augmentation: Augmentation = field(default_factory=Augmentation)
    marks: Marks = field(default_factory=Marks)


@dataclass(frozen=True)
class Spine:
    """One generated series.

    Attributes
    ----------
    slices : (slice, row, column) uint8 ndarray
    marks_px : (level, 2) float32 ndarray
        Row and column of each landmark.
    across : (level,) float32 ndarray
        Slice of each landmark, a fraction.
    step_mm : float
        Distance of neighbouring slices.
    """

    slices: NDArray[np.uint8]
    marks_px: NDArray[np.float32]
    across: NDArray[np.float32]
    step_mm: float


def make_spine(seed: int, recipe: Recipe) -> Spine:
    """Generate one normal spine; the seed also decides whether its sacrum is in view."""
    rng = np.random.default_rng([seed, 11])
    coverage: Coverage = "thoracolumbar" if rng.random() < recipe.unseen else "lumbar"
    made = generate_lumbar(_coarser(draw_spec(seed, "normal", coverage), recipe.render_mm))
    grid = Grid.of(made.volume.shape, made.affine)
    view = sagittal_view(grid)
    stack = view.stack(made.volume)
    kept = replace(recipe.preparation, spacing_mm=recipe.kept_mm)
    ready = prepare(stack.astype(np.float32), view.spacing_mm[1:], kept)
    at = np.array([made.landmarks[level] for level in LEVELS])
    voxel = (at - grid.matrix[:3, 3]) @ np.linalg.inv(grid.matrix[:3, :3]).T
    index = view.index(voxel, grid.shape)
    share = np.array(ready.shape[1:]) / np.array(stack.shape[1:])
    return Spine(
        (ready * 255).round().to(torch.uint8).numpy(),
        ((index[:, 1:] + 0.5) * share - 0.5).astype(np.float32),
        index[:, 0].astype(np.float32),
        view.spacing_mm[0],
    )


def coarsened(spine: Spine, recipe: Recipe) -> Spine:
    """A spine as it was kept, on the grid of the network."""
    spacing_mm = recipe.preparation.spacing_mm
    assert spacing_mm is not None, "a recipe for whole slices has no grid"
    size = [round(n * recipe.kept_mm / spacing_mm) for n in spine.slices.shape[1:]]
    fine = torch.from_numpy(spine.slices)[:, None].float()
    coarse = functional.interpolate(fine, size, mode="bilinear", antialias=True)[:, 0]
    share = np.array(size) / np.array(spine.slices.shape[1:])
    marks_px = ((spine.marks_px + 0.5) * share - 0.5).astype(np.float32)
    return replace(spine, slices=coarse.round().to(torch.uint8).numpy(), marks_px=marks_px)


def _coarser(spec: LumbarSpec, spacing_mm: float) -> LumbarSpec:
    """The same patient and field of view on fewer rows and columns."""
    scanner = spec.scanner
    rows, columns = (round(n * scanner.spacing_mm / spacing_mm) for n in scanner.matrix)
    spacing = scanner.matrix[0] * scanner.spacing_mm / rows
    return replace(spec, scanner=replace(scanner, matrix=(rows, columns), spacing_mm=spacing))


def make_spines(seeds: Sequence[int], recipe: Recipe, workers: int = 1) -> list[Spine]:
    """`make_spine` of every seed, in the order of the seeds, on `workers` processes."""
    tasks = [(seed, recipe) for seed in seeds]
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return list(pool.map(_make_spine, tasks, chunksize=4))


def _make_spine(task: tuple[int, Recipe]) -> Spine:
    return make_spine(*task)


def train(
    spines: Sequence[Spine],
    recipe: Recipe,
    seed: int,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> HeatmapNet:
    """Train one member.

    Parameters
    ----------
    spines : sequence of Spine
        As they were kept.
    recipe : Recipe
    seed : int
        Of the initial values and of everything that is drawn.
    report : callable
        Is told the number of each step and its loss.

    Returns
    -------
    HeatmapNet
        In evaluation mode. The same spines, recipe and seed give the same network on one machine
        and number of threads.
    """
    torch.manual_seed(seed)
    spines = [coarsened(spine, recipe) for spine in spines]
    rng = np.random.default_rng([seed, 13])
    net = HeatmapNet(recipe.layout)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), recipe.lr, weight_decay=recipe.decay)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.lr, total_steps=recipe.steps, pct_start=0.05, anneal_strategy="linear"
    )
    net.train()
    for step in range(recipe.steps):
        share = min(1.0, step / (recipe.ramp * recipe.steps))
        slices, wanted = draw_batch(spines, recipe, rng, share)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(slices.contiguous(memory_format=torch.channels_last))
        loss = heatmap_loss(logits.float(), wanted, recipe.emphasis)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        rate.step()
        report(step, loss.item())
    net.eval()
    return net


def heatmap_loss(logits: Tensor, wanted: Tensor, emphasis: float) -> Tensor:
    """Cross-entropy with soft targets (n, channel, row, column), weighted towards landmarks.

    Every level of a pixel weighs alike, so how levels share a pixel is learned unbiased.
    """
    entropy = -(wanted * functional.log_softmax(logits, 1)).sum(1)
    weight = 1 + emphasis * (1 - wanted[:, 0])
    return (entropy * weight).sum() / weight.sum()


def draw_batch(
    spines: Sequence[Spine], recipe: Recipe, rng: np.random.Generator, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Augmented slices (n, 1, row, column) and targets (n, channel, row, column)."""
    chosen = [spines[i] for i in rng.integers(len(spines), size=recipe.batch)]
    numbers = [_slice(spine, recipe.midline_mm, rng) for spine in chosen]
    largest = np.max([spine.slices.shape[1:] for spine in chosen], axis=0)
    slices = torch.zeros((len(chosen), *largest.tolist()))
    for at, (spine, number) in enumerate(zip(chosen, numbers, strict=True)):
        picked = torch.from_numpy(spine.slices[number]) / 255
        slices[at, : picked.shape[0], : picked.shape[1]] = picked
    marks = torch.from_numpy(np.stack([spine.marks_px for spine in chosen]))
    spans = torch.tensor([spine.slices.shape[1:] for spine in chosen])[:, None]
    inside = ((marks > -0.5) & (marks < spans - 0.5)).all(-1)
    away = [(n - s.across) * s.step_mm for s, n in zip(chosen, numbers, strict=True)]
    spacing_mm = recipe.preparation.spacing_mm
    assert spacing_mm is not None
    how, size = recipe.augmentation.eased(share), (recipe.preparation.size,) * 2
    changed, where, seen = augmented(slices, marks, inside, spacing_mm, size, how, rng)
    across = torch.from_numpy(np.stack(away))
    return changed, targets(where, across, seen, spacing_mm, size, recipe.marks)


def _slice(spine: Spine, midline_mm: float, rng: np.random.Generator) -> int:
    count = len(spine.slices)
    if rng.random() < 0.15:
        return int(rng.integers(count))
    middle = float(spine.across.mean()) + rng.normal(0, midline_mm) / spine.step_mm
    return int(np.clip(round(middle), 0, count - 1))
