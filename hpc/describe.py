"""What does study.yaml say of a new study, where nobody says otherwise?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lamstore.config import DatasetConfig, EngineConfig, ShiftConfig, StudyConfig

SPINE_DATASETS = ("rsna-lumbar", "dicom")
"""What these hold is T2 series of spines: the usual engine, modality and shifts differ."""


def describe(
    dataset: str,
    root: Path,
    options: Mapping[str, Any] | None = None,
    *,
    modalities: Sequence[str] = (),
    engines: Sequence[str] = (),
    resample: bool = False,
) -> StudyConfig:
    """Configuration of a study of a dataset; what is not given is what is usual for it.

    Parameters
    ----------
    dataset : str
        Name of an adapter.
    root : Path
    options : mapping, optional
        Of the adapter.
    modalities, engines : sequence of str, optional
    resample : bool, optional
    """
    spine = dataset in SPINE_DATASETS
    usual = ("vertebra-heatmap", "t2w") if spine else ("flair-zscore", "flair")
    return StudyConfig(
        dataset=DatasetConfig(
            adapter=dataset,
            root=root.resolve(),
            options=dict(options or {}),
            resample=resample,
            modalities=tuple(modalities or (usual[1],)),
            optional_modalities=() if spine else ("t1w",),
        ),
        engines=tuple(EngineConfig(engine=name, label=None) for name in engines or (usual[0],)),
        # Of a spine the question is who is unlike the training, not what a scanner changes.
        shifts=ShiftConfig(names=()) if spine else ShiftConfig(),
    )
