"""Which parameters does a file hold, of which network, and how does that network want its slices?

Two kinds of file, told apart by content: ours (safetensors; layout and preparation in its
metadata) and the public checkpoint (a PyTorch file or safetensors without our metadata: the layout
is ResNet-50-D, one or three input channels as its first convolution says). Nothing pickled is
executed, and every name must match.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from jobs.heatmaps import LEVELS
from jobs.heatmaps.network import PUBLIC, HeatmapNet, Layout, fold_norms
from lamstore.errors import EngineError, MissingWeightsError

METADATA = "lamstore"
"""Entry of our files' metadata; what it holds is JSON."""
FORMAT = "lamstore-heatmap-1"
WRAPPERS = ("state_dict", "model_state_dict")
"""Keys under which a PyTorch file may hold its parameters."""
PARALLEL = "module."
"""Prefix that torch.nn.DataParallel leaves on every name; taken off where all names have it."""
NOT_NEEDED = ("D", "mean", "std")
"""Scalars of the public network that a file may lack: a device marker, an intensity scale."""
SHOWN = 6


@dataclass(frozen=True)
class Preparation:
    """How slices reach a network.

    Attributes
    ----------
    spacing_mm : float or None
        Rows and columns are resampled to this, and stand in the middle of a square of `size`
        rows and columns (of more where they are more). None: every slice is resized to `size`.
    size : int
    percentiles : (2,) tuple of float or None
        Of the whole series, scaled to 0 and 1, clipped. None: minimum and maximum of the series
        scaled to 0 and 255 and cut to whole numbers, as the public network was trained.
    """

    spacing_mm: float | None = None
    size: int = 160
    percentiles: tuple[float, float] | None = None


PUBLIC_PREPARATION = Preparation()


@dataclass(frozen=True)
class Weights:
    """A file's content.

    Attributes
    ----------
    name : str
        The file's name without its ending.
    layout : Layout
    preparation : Preparation
    state : mapping of parameter name to tensor
    """

    name: str
    layout: Layout
    preparation: Preparation
    state: Mapping[str, Tensor]

    def network(self) -> HeatmapNet:
        """The network with these parameters for inference: norms folded, float32."""
        net = HeatmapNet(self.layout)
        net.load_state_dict(self.state, strict=False)  # names were compared in `_strict`
        net.eval().requires_grad_(False)
        fold_norms(net)
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def weights_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes.

    Raises
    ------
    MissingWeightsError
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingWeightsError(
            f"there are no weights at {path}",
            expected="a safetensors file or a PyTorch checkpoint",
            remedy="correct `weights`, or leave it out to use those that come with lamstore",
        ) from error


def read_weights(path: Path) -> Weights:
    """Read a file of either kind.

    Raises
    ------
    MissingWeightsError
        When the file is not there.
    EngineError
        When it cannot be read without executing pickled code, or its parameters are not those of
        the network: names that are missing, unexpected, or of another shape.
    """
    weights_digest(path)
    state, metadata = _tensors(path)
    if METADATA in metadata:
        layout, preparation = _described(metadata[METADATA], path)
    else:
        state = _bare(state)
        layout, preparation = _public_layout(state, path), PUBLIC_PREPARATION
    return Weights(path.stem, layout, preparation, _strict(state, layout, path))


def write_weights(path: Path, net: HeatmapNet, preparation: Preparation, note: str) -> None:
    """Write a network as float16 safetensors of our kind; `note` says what it was trained on."""
    state = {k: v for k, v in net.state_dict().items() if not _is_counter(k)}
    halves = {k: v.detach().to(torch.float16).contiguous() for k, v in state.items()}
    spec = {
        "format": FORMAT,
        "layout": asdict(net.layout),
        "preparation": asdict(preparation),
        "levels": LEVELS,
        "note": note,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # One entry: safetensors writes several in any order, and the same network would not give the
    # same bytes.
    safetensors.torch.save_file(halves, path, {METADATA: json.dumps(spec, sort_keys=True)})


def _tensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Parameters and metadata; what a PyTorch file wraps is unwrapped."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except safetensors.SafetensorError:
        pass
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch reports a damaged file by whatever its parsers raise.
        raise EngineError(
            f"{path} cannot be read as weights",
            got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
            expected="safetensors, or a PyTorch file of tensors only (nothing pickled is executed)",
            remedy="save the state_dict of the model alone, or fetch the file again",
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    return (dict(found) if isinstance(found, Mapping) else {}), {}


def _bare(state: dict[str, Any]) -> dict[str, Any]:
    if state and all(name.startswith(PARALLEL) for name in state):
        return {name.removeprefix(PARALLEL): tensor for name, tensor in state.items()}
    return state


def _described(described: str, path: Path) -> tuple[Layout, Preparation]:
    spec = json.loads(described)
    expected = {"format": FORMAT, "levels": list(LEVELS)}
    if got := {k: spec.get(k) for k in expected if spec.get(k) != expected[k]}:
        raise EngineError(
            f"{path} was written for another use or by another version",
            got=str(got),
            expected=str({k: expected[k] for k in got}),
            remedy="use weights of the vertebra localizer that this version of lamstore wrote",
        )
    layout: dict[str, Any] = _tuples(spec["layout"])
    preparation: dict[str, Any] = _tuples(spec["preparation"])
    return Layout(**layout), Preparation(**preparation)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _public_layout(state: Mapping[str, Any], path: Path) -> Layout:
    first = state.get("encoder.conv1.0.weight")
    if not isinstance(first, Tensor) or first.ndim != 4 or first.shape[1] not in {1, 3}:
        raise EngineError(
            f"{path} is no localizer that lamstore knows",
            got=_some(sorted(map(str, state))) or "no parameters",
            expected="'encoder.conv1.0.weight' of 1 or 3 input channels, bare or under "
            + " or ".join(map(repr, WRAPPERS)),
            remedy="give a checkpoint of the ResNet-50-D heatmap U-Net, or weights that "
            "lamstore has trained",
        )
    return replace(PUBLIC, in_channels=int(first.shape[1]))


def _strict(state: Mapping[str, Any], layout: Layout, path: Path) -> dict[str, Tensor]:
    """Parameters that are exactly the network's, float32."""
    with torch.device("meta"):
        wanted = {k: v for k, v in HeatmapNet(layout).state_dict().items() if not _is_counter(k)}
    given = {k: v for k, v in state.items() if not _is_counter(k)}
    missing = [k for k in wanted if k not in given and k not in NOT_NEEDED]
    unexpected = [k for k in given if k not in wanted and k not in NOT_NEEDED]
    found = {k: given[k] for k in wanted if k in given}
    other = [
        f"{k} {tuple(v.shape)} instead of {tuple(wanted[k].shape)}"
        for k, v in found.items()
        if v.shape != wanted[k].shape and not (k in NOT_NEEDED and v.numel() == 1)
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": other}
    if any(faults.values()):
        raise EngineError(
            f"the parameters of {path} are not those of the network",
            got="; ".join(f"{len(v)} {k}: {_some(v)}" for k, v in faults.items() if v),
            expected=f"the {len(wanted) - 2} parameters of {layout}",
            remedy="give a checkpoint of this network",
        )
    return {k: v.float().reshape(wanted[k].shape) for k, v in found.items()}


def _is_counter(name: str) -> bool:
    """Whether a buffer counts training steps, which nothing reads at inference."""
    return name.endswith("num_batches_tracked")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
