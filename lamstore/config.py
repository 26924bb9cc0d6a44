"""What decides a study's results? `study.yaml`, parsed once; an unknown key is an error."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from lamstore.errors import ConfigError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetConfig(_Section):
    """Where the cohort comes from."""

    adapter: str
    root: Path
    options: dict[str, Any] = {}
    modalities: tuple[str, ...] = ("flair",)
    """Every subject must have these at every timepoint."""
    optional_modalities: tuple[str, ...] = ("t1w",)
    """Taken in where a subject has them."""
    resample: bool = False
    """Bring files that lie on another grid onto the subject's, instead of refusing them."""
    interpolation: Literal["linear", "bspline"] = "bspline"
    """How images are resampled. Linear blurs, and two scans differently: that looks like change."""
    need_brainmask: bool = True
    """Refuse subjects without a brain mask, unless the dataset itself says that they have none, as
    those of spines do: percentiles (of shifts, of harmonizations) are then those of the whole
    field of view. False for a table of spines."""
    subjects: tuple[str, ...] | None = None
    """Only these (all when absent)."""


class EngineConfig(_Section):
    """One model under audit."""

    engine: str
    label: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)
    """Name of its group in the store; the engine's own name when absent."""
    options: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Name of its group in the store."""
        return self.label or self.engine


Harmonization = Literal["none", "median", "histogram", "nyul"]
"""What may stand in front of an engine, see `jobs.harmonize`."""

NO_HARMONIZATION: Harmonization = "none"


@dataclass(frozen=True)
class Variant:
    """What is audited: an engine with a harmonization in front of it.

    A group of the store each, so that every unit, fingerprint and metric of it is its own.
    """

    engine: EngineConfig
    harmonization: Harmonization = "none"

    @property
    def name(self) -> str:
        """Of its group in the store: ``unet``, ``unet+nyul``."""
        return variant_name(self.engine.name, self.harmonization)


def variant_name(engine: str, harmonization: str) -> str:
    """Name of the group in the store of an engine behind a harmonization."""
    return engine if harmonization == NO_HARMONIZATION else f"{engine}+{harmonization}"


class ShiftConfig(_Section):
    """Which simulated scanner shifts the follow-up goes through (suite ``shift_v1``)."""

    suite: Literal["shift_v1"] = "shift_v1"
    names: tuple[Literal["gamma", "noise", "blur", "resolution"], ...] = (
        "gamma",
        "noise",
        "blur",
        "resolution",
    )
    levels: tuple[Literal[1, 2], ...] = (1, 2)
    modes: tuple[Literal["t1_only", "both"], ...] = ("t1_only",)
    store_shifted: bool = False
    """Keep the shifted images (they replay bit for bit without)."""


class MetricConfig(_Section):
    """Parameters of every longitudinal and segmentation metric."""

    dilation_radius_mm: float = Field(default=2.0, ge=0)
    min_component_mm3: float = Field(default=10.0, ge=0)
    connectivity: Literal[6, 18, 26] = 26
    diff_threshold: float = Field(default=0.2, ge=0, le=1)


class UncertaintyConfig(_Section):
    """Which voxel maps of uncertainty are stored at inference."""

    measures: tuple[
        Literal[
            "ens_var",
            "prob_entropy",
            "prob_p1mp",
            "mutual_information",
            "expected_pairwise_kl",
            "reverse_mutual_information",
        ],
        ...,
    ] = ("ens_var", "prob_entropy")
    boundary_mm: float = Field(default=1.0, ge=0)


class HeatmapConfig(_Section):
    """Parameters of what is measured on a localizer's heatmaps, see `jobs.heatmap_measures`."""

    floor: float = Field(default=0.05, gt=0, lt=1)
    """Of a map's own maximum; below it there is neither a peak nor mass."""
    apart_mm: float = Field(default=12.0, gt=0)
    """Two maxima nearer than this are one."""
    chain_radius_mm: float = Field(default=15.0, gt=0)
    """Mass within this of a level's place on the chain belongs there."""
    spacing_mm: tuple[float, float] = (20.0, 50.0)
    """Least and largest distance of neighbouring levels."""

    @field_validator("spacing_mm")
    @classmethod
    def _range(cls, spacing_mm: tuple[float, float]) -> tuple[float, float]:
        if not 0 < spacing_mm[0] < spacing_mm[1]:
            raise ValueError(f"a least and a larger distance in mm, got {spacing_mm}")
        return spacing_mm


class ScreeningConfig(_Section):
    """Who is called a suspect of a transitional vertebra, and who is looked at first."""

    score_level: str = "l5_s1"
    """Level whose measures screen."""
    high_entropy: float = Field(default=5.5, ge=0)
    """Entropy (nats) above which the risk is high …"""
    medium_entropy: float = Field(default=4.0, ge=0)
    """… and from which it is medium. Numbers of the prior system, on its 160 × 160 map."""
    sensitivity: float = Field(default=0.9, gt=0, lt=1)
    """Fixed sensitivity at which a threshold is chosen, beside Youden's."""
    split_seed: int = 0
    """Which half of the labelled studies chooses the thresholds; the other half judges them."""
    queue_length: int = Field(default=20, ge=1)
    """Studies in the audit queue …"""
    queue_measure: str = "l5_s1_entropy"
    """… and the column of the table of measures by which they come, the most suspicious first."""
    labels: Path | None = None
    """CSV with study_id and lstv (0 or 1): what `lam run` and `lam analyse` hold the measures
    against. Its content decides the report, not where it lies."""

    @model_validator(mode="after")
    def _ordered(self) -> ScreeningConfig:
        if self.medium_entropy > self.high_entropy:
            raise ValueError("medium_entropy must not exceed high_entropy")
        return self


class QcConfig(_Section):
    """Cohort quantiles above which a subject wants a reader's eye."""

    uncertainty_quantile: float = Field(default=0.9, gt=0, lt=1)
    change_quantile: float = Field(default=0.9, gt=0, lt=1)
    failure_dice: float = Field(default=0.1, ge=0, le=1)
    thresholds: Path | None = None
    """qc_thresholds.json of a reference cohort; without it the cohort judges itself."""


class StudyConfig(_Section):
    """The whole of study.yaml."""

    dataset: DatasetConfig
    engines: tuple[EngineConfig, ...] = (EngineConfig(engine="flair-zscore", label=None),)
    """None is a cohort that is only taken in, to train on."""
    harmonizations: tuple[Harmonization, ...] = ("none",)
    """What normalizes the images in front of every engine. ``none`` is always run, and first: what
    a harmonization protects from, and what it costs, is measured against it."""
    shifts: ShiftConfig = ShiftConfig()
    metrics: MetricConfig = MetricConfig()
    uncertainty: UncertaintyConfig = UncertaintyConfig()
    heatmaps: HeatmapConfig = HeatmapConfig()
    screening: ScreeningConfig = ScreeningConfig()
    qc: QcConfig = QcConfig()
    cluster: dict[str, Any] = {}
    """Cluster profile and resources; decides no result."""

    @field_validator("engines")
    @classmethod
    def _distinct(cls, engines: tuple[EngineConfig, ...]) -> tuple[EngineConfig, ...]:
        names = [engine.name for engine in engines]
        if len(set(names)) != len(names):
            raise ValueError(f"engines need distinct labels, got {names}")
        if joined := [name for name in names if "+" in name]:
            raise ValueError(f"'+' is for harmonizations; give a label to {joined}")
        return engines

    @field_validator("harmonizations")
    @classmethod
    def _none_first(cls, wanted: tuple[Harmonization, ...]) -> tuple[Harmonization, ...]:
        return tuple(dict.fromkeys((NO_HARMONIZATION, *wanted)))

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Every engine behind every harmonization, engine by engine."""
        return tuple(Variant(e, h) for e in self.engines for h in self.harmonizations)


def read_config(path: Path) -> StudyConfig:
    """Parse study.yaml.

    Raises
    ------
    ConfigError
        When the file is missing, is not YAML, has an unknown key or a value out of range.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no study at {path.parent}",
            expected=f"a file {path}",
            remedy=f"lam new {path.parent} --dataset open-ms --root DIR",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML", got=str(error)) from error
    try:
        config = StudyConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path} cannot be used", got=_complaints(error)) from error
    root = (path.parent / config.dataset.root).resolve()
    dataset = config.dataset.model_copy(update={"root": root})
    qc = config.qc
    if qc.thresholds is not None:
        qc = qc.model_copy(update={"thresholds": (path.parent / qc.thresholds).resolve()})
    screening = config.screening
    if screening.labels is not None:
        labels = (path.parent / screening.labels).resolve()
        screening = screening.model_copy(update={"labels": labels})
    return config.model_copy(update={"dataset": dataset, "qc": qc, "screening": screening})


def _complaints(error: ValidationError) -> str:
    lines = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
    return "; ".join(lines)


def render_config(config: StudyConfig) -> str:
    """study.yaml as text, with everything that decides a result spelled out."""
    body = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return f"# Everything that decides a result of this study. Edit, then `lam run` again.\n{body}"


def digest(value: object) -> str:
    """Digest of any JSON-like value: equal values give equal digests on every machine."""
    canonical = orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=_plain)
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return str(value)
