"""Small networks with random weights, saved as training saves them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from jobs.unet.network import NetworkSpec, build_network
from jobs.unet.weights import Facts, save_weights

# Test folders are not packages: the suite that every engine passes lies beside the engines' tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))
pytest.register_assert_rewrite("conformance")

SaveMember = Callable[..., Path]


@pytest.fixture(scope="session")
def save_member() -> SaveMember:
    """``save_member(path, seed=0, channels=…, **facts)`` writes a file of random weights."""

    def save(path: Path, seed: int = 0, channels: tuple[str, ...] = ("flair", "t1w"), **facts):
        torch.manual_seed(seed)
        spec = NetworkSpec(channels=channels, features=(4, 8), strides=(2,), residual_units=1)
        described = Facts.model_validate({"network": spec, "patch": (32, 32, 32)} | facts)
        return save_weights(path, build_network(spec), described)

    return save


@pytest.fixture(scope="session")
def two_members(tmp_path_factory: pytest.TempPathFactory, save_member: SaveMember) -> list[Path]:
    """Two members with channels FLAIR and T1W at 2 mm, windows of 32³."""
    folder = tmp_path_factory.mktemp("weights")
    spacing = {"spacing_mm": (2.0, 2.0, 2.0)}
    return [save_member(folder / f"{n}.safetensors", i, **spacing) for i, n in enumerate("ab")]
