"""What does study.yaml say of a new study, where nobody says otherwise?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamstore.config import DatasetConfig, EngineConfig, ShiftConfig, StudyConfig


@dataclass(frozen=True)
class Usual:
    """What the datasets of one kind hold, and what is asked of them.

    Attributes
    ----------
    engines : tuple of str
        None where no engine here was trained for it: the cohort is taken in to train on.
    modalities, optional_modalities : tuple of str
    shifts : ShiftConfig
    """

    engines: tuple[str, ...] = ("unet",)
    modalities: tuple[str, ...] = ("flair",)
    optional_modalities: tuple[str, ...] = ("t1w",)
    shifts: ShiftConfig = field(default_factory=ShiftConfig)


BRAIN = Usual()
# Of a spine the question is who is unlike the training, not what a scanner changes.
SPINE = Usual(("vertebra-heatmap",), ("t2w",), (), ShiftConfig(names=()))
USUAL = {
    "rsna-lumbar": SPINE,
    "dicom": SPINE,
    "atlas": Usual((), ("t1w",), ()),
    "isles": Usual((), ("dwi", "adc"), ("flair",)),
}
"""By dataset; `BRAIN` for every other."""


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
    usual = USUAL.get(dataset, BRAIN)
    return StudyConfig(
        dataset=DatasetConfig(
            adapter=dataset,
            root=root.resolve(),
            options=dict(options or {}),
            resample=resample,
            modalities=tuple(modalities or usual.modalities),
            optional_modalities=usual.optional_modalities,
        ),
        engines=tuple(EngineConfig(engine=name, label=None) for name in engines or usual.engines),
        shifts=usual.shifts,
    )
