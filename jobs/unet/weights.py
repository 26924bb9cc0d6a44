"""What is in a weights file, and can it be trusted?

One member of an ensemble is one ``.safetensors`` file: the tensors, and in its header everything
that is needed to use them (network, spacing, normalization, threshold) and to judge them (recipe,
notes). Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from jobs.unet.network import NetworkSpec, build_network
from jobs.unet.normalize import VERSION
from lamstore.errors import EngineError, MissingWeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

KEY = "lamstore.unet"
"""Entry of the safetensors header that holds the facts as JSON."""

TRAIN = "train one (lam train train.yaml), or name files by the option weights"


class Facts(BaseModel):
    """What a weights file says about itself.

    Attributes
    ----------
    network : NetworkSpec
    required : tuple of str
        Channels that the model was never trained without; the first one when not given.
    spacing_mm : three floats
        Of the grid on which it was trained.
    patch : three ints
        Voxels along x, y, z of a training patch.
    window : three ints, optional
        Voxels of a window of inference where it was found to want more context; else the patch.
    normalization : str
        `jobs.unet.normalize.VERSION` at training.
    threshold : float
        Probability from which a voxel is a lesion.
    recipe : str
        Digest of everything that decided the training.
    notes : mapping
        Free: seeds, subjects, measured results, licence of the data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkSpec
    required: tuple[str, ...] = ()
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    patch: tuple[int, int, int] = (64, 64, 64)
    window: tuple[int, int, int] | None = None
    normalization: str = VERSION
    threshold: float = Field(default=0.5, gt=0, lt=1)
    recipe: str = ""
    notes: dict[str, Any] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Facts:
        if strange := set(self.required) - set(self.network.channels):
            raise ValueError(f"required names no channel: {sorted(strange)}")
        for name, edges in (("patch", self.patch), ("window", self.tried_window)):
            if any(edge < 1 or edge % self.network.divisor for edge in edges):
                raise ValueError(f"{name} {edges} must be multiples of {self.network.divisor}")
        if min(self.spacing_mm) <= 0:
            raise ValueError(f"spacing_mm must be positive, got {self.spacing_mm}")
        return self

    @property
    def tried_window(self) -> tuple[int, int, int]:
        """Voxels of a window with which the network was tried: the patch where no other."""
        return self.window or self.patch

    @property
    def needed(self) -> tuple[str, ...]:
        """Channels without which the model cannot run."""
        return self.required or self.network.channels[:1]


class Weights(NamedTuple):
    """A weights file, read."""

    network: NetworkSpec
    facts: Facts
    state: dict[str, Tensor]


def save_weights(path: Path, module: nn.Module, facts: Facts, *, half: bool = True) -> Path:
    """Write one member; the file appears whole or not at all.

    Parameters
    ----------
    path : Path
        ``….safetensors``.
    module : nn.Module
        As `build_network` made it from ``facts.network``; on any device.
    facts : Facts
    half : bool
        Store floats as float16: half the size, and probabilities move by some 1e-4.
    """
    import torch
    from safetensors.torch import save_file

    state = {
        name: _stored(tensor, torch.float16 if half else None)
        for name, tensor in _tensors(module).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(state, partial, metadata={KEY: facts.model_dump_json()})
    partial.replace(path)
    return path


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, each once: a state dict of `DynUNet` names most of them twice."""
    return dict(module.named_parameters()) | dict(module.named_buffers())


def _stored(tensor: Tensor, dtype: Any) -> Tensor:
    tensor = tensor.detach().cpu()
    if dtype is not None and tensor.is_floating_point():
        tensor = tensor.to(dtype)
    # Own memory in plain order: safetensors takes neither views nor channels_last.
    return tensor.clone().contiguous()


def read_facts(path: Path) -> Facts:
    """What a weights file says about itself, from its header alone; torch is not imported.

    Raises
    ------
    MissingWeightsError
        There is no such file.
    EngineError
        It is no safetensors file, or none of lamstore's.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise MissingWeightsError(
            f"there are no weights at {path}", expected="a .safetensors file", remedy=TRAIN
        )
    try:
        with safe_open(path, framework="numpy") as file:
            header: Mapping[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise EngineError(
            f"{path} is no safetensors file, or it is damaged",
            got=str(error),
            expected="weights as lam train writes them; nothing is ever unpickled",
            remedy=TRAIN,
        ) from error
    if KEY not in header:
        raise EngineError(
            f"{path} does not say which network its tensors belong to",
            got=f"header entries {sorted(header) or 'none'}",
            expected=f"an entry {KEY}",
            remedy=TRAIN,
        )
    try:
        return Facts.model_validate_json(header[KEY])
    except ValidationError as error:
        raise EngineError(
            f"{path} describes itself in a way that this version does not understand",
            got="; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()),
            remedy=TRAIN,
        ) from error


def load_weights(path: Path) -> Weights:
    """Network, facts and tensors (float32, CPU) of one member.

    Raises
    ------
    MissingWeightsError, EngineError
        As `read_facts`.
    """
    from safetensors.torch import load_file

    facts = read_facts(path)
    state = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in load_file(path).items()
    }
    return Weights(facts.network, facts, state)


def load_network(path: Path) -> tuple[nn.Module, Facts]:
    """The trained network of one file, in evaluation mode.

    Raises
    ------
    MissingWeightsError, EngineError
        As `read_facts`; also when the tensors do not fit the network described.
    """
    import torch

    network, facts, state = load_weights(path)
    module = build_network(network)
    own = _tensors(module)
    wrong = [n for n in own.keys() | state.keys() if _shape(own.get(n)) != _shape(state.get(n))]
    if wrong:
        raise EngineError(
            f"the tensors of {path} do not fit the network that it describes",
            got=f"{len(wrong)} that are missing, superfluous or of another shape: {min(wrong)}, …",
            remedy=TRAIN,
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])
    return module.eval(), facts


def with_channels(module: nn.Module, facts: Facts, wanted: NetworkSpec) -> nn.Module:
    """The same network on other channels; at first it says what it said without the difference.

    A missing channel is zeros, so that its weights in the first convolutions do nothing: one that
    goes takes its weights along, one that comes begins with weights of zero.

    Parameters
    ----------
    module : nn.Module
        Not changed.
    facts : Facts
        Of `module`.
    wanted : NetworkSpec
        The network of `facts`, but for its channels.

    Raises
    ------
    EngineError
        When the two networks differ in more than their channels, or have none in common.
    """
    import torch

    had = facts.network
    common = [channel for channel in wanted.channels if channel in had.channels]
    if had.model_copy(update={"channels": wanted.channels}) != wanted or not common:
        raise EngineError(
            "these weights are of another network",
            got=str(had),
            expected=f"{wanted}, or the same with other channels beside one of these",
            remedy="change `network` and `channels`, or leave `initial` away",
        )
    source = [had.channels.index(channel) for channel in common]
    target = [wanted.channels.index(channel) for channel in common]
    made = build_network(wanted)
    by_channel = _by_channel(made, wanted)
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            given = module.state_dict()[name]
            if name in by_channel:
                tensor.zero_()[:, target] = given[:, source]
            else:
                tensor.copy_(given)
    return made


def _by_channel(module: nn.Module, spec: NetworkSpec) -> set[str]:
    """Names of the tensors that hold something for each channel: a wider input widens them."""
    wider = build_network(spec.model_copy(update={"channels": (*spec.channels, "one more")}))
    own = module.state_dict()
    return {name for name, tensor in wider.state_dict().items() if tensor.shape != own[name].shape}


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def weights_digest(paths: Iterable[Path]) -> str:
    """SHA-256 (hex) of the bytes of all files, in their order; names do not enter.

    Raises
    ------
    MissingWeightsError
    """
    whole = hashlib.sha256()
    for path in paths:
        if not path.is_file():
            raise MissingWeightsError(f"there are no weights at {path}", remedy=TRAIN)
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
