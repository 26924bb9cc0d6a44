"""How are outputs that another tool left on disk audited like those of an engine?

The tool ran elsewhere; its NIfTI files lie in a tree, named after subject and timepoint. They are
checked against the subject's grid and handed on. Nothing is resampled, thresholded anew (unless
there is no mask), or made up where a file is missing.
"""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from jobs.engines.base import EngineInput, Segmentation, Segmenter
from jobs.engines.options import EngineOptions, digest_options, parse_options
from jobs.nifti import read_header, read_volume
from lamstore.errors import EngineError, GridError, MissingInputError, VoxelError
from lamstore.grid import Grid

FOLDER = "{subject}/{timepoint}/"
MS_LAM_MASK = FOLDER + "lesion_mask.nii.gz"
MS_LAM_MODELS = {f"model{i}": FOLDER + f"lesion_prob_model{i}.nii.gz" for i in (1, 2, 3)}
MS_LAM_MEAN = {"mean": FOLDER + "lesion_prob.nii.gz"}
"""The tree that MS-LAM's runs of LST-AI leave."""

PLACEHOLDER = re.compile(r"\{(\w*)\}")
KNOWN = frozenset({"subject", "timepoint", "shift"})
ROUNDING = 1e-4
"""How far outside [0, 1] a probability may lie and still be rounding of the tool; it is clipped."""


def _checked_pattern(pattern: str) -> str:
    names = set(PLACEHOLDER.findall(pattern))
    if not names <= KNOWN or "{" in PLACEHOLDER.sub("", pattern):
        raise ValueError(f"'{pattern}': placeholders are {{subject}}, {{timepoint}}, {{shift}}")
    if not {"subject", "timepoint"} <= names:
        raise ValueError(f"'{pattern}' must hold {{subject}} and {{timepoint}}")
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise ValueError(f"'{pattern}' must lie below root")
    return pattern


def _existing_folder(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError(f"'{path}' is not a folder")
    return path


Pattern = Annotated[str, AfterValidator(_checked_pattern)]


class PrecomputedOptions(EngineOptions):
    """Options of `precomputed`.

    Attributes
    ----------
    root : Path
        Folder of the tree.
    mask : str or None
        Pattern below root of the lesion masks (values 0 and 1), with ``{subject}``,
        ``{timepoint}`` and, where shifted images were segmented too, ``{shift}``. None: the mean
        of the members' probabilities ≥ `threshold`.
    members : mapping of str to str
        Name of each member and the pattern of its probability maps.
    threshold : float
        Only used without `mask`.

    With neither `mask` nor `members` the tree is MS-LAM's:
    ``{subject}/{timepoint}/lesion_mask.nii.gz`` beside ``lesion_prob_model{1,2,3}.nii.gz``, or
    where the tree has none of these ``lesion_prob.nii.gz`` as the one member ``mean``, or none.
    """

    root: Annotated[Path, AfterValidator(_existing_folder)]
    mask: Pattern | None = None
    members: dict[str, Pattern] = Field(default_factory=dict)
    threshold: float = Field(default=0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _shift_in_all_or_none(self) -> PrecomputedOptions:
        patterns = [*([self.mask] if self.mask else []), *self.members.values()]
        if len({"{shift}" in p for p in patterns}) > 1:
            raise ValueError("{shift} must stand in every pattern or in none")
        return self


class Precomputed(Segmenter):
    """Outputs of any tool, read from a tree of NIfTI files."""

    name: ClassVar[str] = "precomputed"
    version: ClassVar[str] = "1"

    def __init__(self, options: PrecomputedOptions) -> None:
        self.options = options

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Precomputed:
        return cls(parse_options(PrecomputedOptions, options, cls.name))

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(self._member_patterns)

    @property
    def required_modalities(self) -> tuple[str, ...]:
        return ()

    @property
    def sees_shifts(self) -> bool:
        """Whether the tree holds outputs for shifted images."""
        return "{shift}" in "".join([self._mask_pattern or "", *self._member_patterns.values()])

    def digest(self) -> str:
        """Digest of the patterns and of name, size and modification time of the tree's files.

        The root itself does not enter: a tree that was moved is the same tree.
        """
        tree = hashlib.sha256()
        for path in self._files():
            stat = path.stat()
            name = path.relative_to(self.options.root).as_posix()
            tree.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        patterns = self.options.model_copy(update={"root": Path()})
        return digest_options(self.name, self.version, patterns, tree.hexdigest())

    def segment(self, inputs: EngineInput) -> Segmentation:
        """Read one subject's outputs at one timepoint.

        Raises
        ------
        EngineError
            The tree holds no outputs for shifted images and a shift is asked for.
        MissingInputError, UnreadableInputError
            A file is not there or cannot be read.
        GridError
            A file does not lie on the subject's grid.
        VoxelError
            A probability outside [0, 1] or NaN; a mask with other values than 0 and 1.
        """
        if inputs.shift != "none" and not self.sees_shifts:
            raise EngineError(
                f"Engine '{self.name}' has no outputs for shifted images of {inputs.subject}.",
                got=f"shift '{inputs.shift}'",
                expected="shift 'none'",
                remedy="run the tool on shifted images and put {shift} into the patterns",
            )
        maps = [_probability(self._path(p, inputs), inputs) for p in self._member_patterns.values()]
        shape = (len(maps), *inputs.grid.shape)
        probability = np.stack(maps) if maps else np.zeros(shape, np.float32)
        if self._mask_pattern is None:
            return Segmentation(probability, probability.mean(axis=0) >= self.options.threshold)
        return Segmentation(probability, _mask(self._path(self._mask_pattern, inputs), inputs))

    @property
    def _is_ms_lam(self) -> bool:
        return self.options.mask is None and not self.options.members

    @property
    def _mask_pattern(self) -> str | None:
        return MS_LAM_MASK if self._is_ms_lam else self.options.mask

    @cached_property
    def _member_patterns(self) -> dict[str, str]:
        if not self._is_ms_lam:
            return dict(self.options.members)
        # One such file anywhere decides for the cohort: a subject that lacks it is an error then,
        # not a subject with fewer members.
        for patterns in (MS_LAM_MODELS, MS_LAM_MEAN):
            if any(any(self._glob(p)) for p in patterns.values()):
                return patterns
        return {}

    def _files(self) -> list[Path]:
        patterns = [self._mask_pattern, *self._member_patterns.values()]
        return sorted({path for p in patterns if p is not None for path in self._glob(p)})

    def _glob(self, pattern: str) -> Iterator[Path]:
        # Adjacent placeholders would make "**", which means folders; literal brackets are escaped.
        literal = PLACEHOLDER.sub("\0", glob.escape(pattern))
        return self.options.root.glob(re.sub("\0+", "*", literal))

    def _path(self, pattern: str, inputs: EngineInput) -> Path:
        """File of one unit; labels cannot lead out of the root."""
        labels = {
            "subject": inputs.subject,
            "timepoint": inputs.timepoint,
            "shift": inputs.shift,
        }
        for role, label in labels.items():
            if label in ("", ".", "..") or set(label) & set("/\\\0"):
                raise EngineError(
                    f"'{label}' cannot be part of a file name.",
                    got=f"{role} '{label}'",
                    expected="letters, digits, '_', '-' and '.'",
                    remedy=f"rename the {role}",
                )
        path = self.options.root / PLACEHOLDER.sub(lambda m: labels[m[1]], pattern)
        if not path.is_file():
            raise MissingInputError(
                f"{inputs.subject} {inputs.timepoint}: '{path}' is not there.",
                expected=f"a file '{pattern}' below '{self.options.root}' for every unit",
                remedy="run the tool on this subject, or correct the patterns in study.yaml",
            )
        return path


def _volume(path: Path, inputs: EngineInput) -> NDArray[Any]:
    """Voxels (x, y, z) of a file that lies on the subject's grid."""
    header = read_header(path, inputs.subject)
    difference = inputs.grid.mismatch(header.grid)
    if difference is not None:
        raise GridError(
            f"{inputs.subject} {inputs.timepoint}: '{path}' is not on the subject's grid: "
            f"{difference}",
            got=_described(header.grid),
            expected=_described(inputs.grid),
            remedy="resample the tool's outputs onto the subject's reference image",
        )
    return read_volume(path, header, inputs.subject)


def _described(grid: Grid) -> str:
    return f"shape {grid.shape}, affine {[[round(v, 4) for v in row] for row in grid.affine[:3]]}"


def _probability(path: Path, inputs: EngineInput) -> NDArray[np.float32]:
    values = _volume(path, inputs).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    # Written so that NaN, which compares false with everything, is refused as well.
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise VoxelError(
            f"{inputs.subject} {inputs.timepoint}: '{path}' is not a probability map.",
            got=f"values from {low:g} to {high:g}",
            expected="values from 0 to 1",
            remedy="give the tool's probabilities, not its logits, labels or percentages",
        )
    return np.clip(values, 0, 1)


def _mask(path: Path, inputs: EngineInput) -> NDArray[np.bool_]:
    values = _volume(path, inputs)
    mask = np.asarray(values == 1)
    if not (mask | (values == 0)).all():
        raise VoxelError(
            f"{inputs.subject} {inputs.timepoint}: '{path}' is not a mask.",
            got=f"values {np.unique(values)[:6].tolist()}",
            expected="values 0 and 1",
            remedy="binarize the file",
        )
    return mask
