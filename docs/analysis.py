# ruff: noqa: B018, E402
# %% [markdown]
# # From a finished study to a figure
#
# `lam run study` has left a store. This notebook opens it lazily, asks a few questions of the whole
# cohort, looks at one patient and ends in a figure. Run it cell by cell in any editor that knows
# the percent format, or make a notebook of it: `python docs/make_notebook.py`.
#
# Set `LAM_STUDY` to your study; `lam demo demo` makes one in a few minutes (`demo/study`).

# %%
import os

import pandas as pd

import lamstore
from lamstore.study import Study

study = Study.at(os.environ.get("LAM_STUDY", "demo/study"))
ENGINE = study.config.engines[0].name

# %% [markdown]
# One labelled dataset: inputs, and what the engine made of them under every shift. Nothing has been
# read yet but labels and the small tables.

# %%
ds = lamstore.open(study.path, engine=ENGINE)
ds

# %% [markdown]
# ## The cohort in one expression
#
# A dask graph, a task a scan; it runs in as much memory as the scans in flight take. On a cluster,
# start a `dask.distributed.Client` before and the same line runs there.

# %%
volumes = (ds.mask.sum(["x", "y", "z"]) * ds.voxel_volume_mm3).compute()
change = volumes.sel(timepoint="t1", shift="none") - volumes.sel(timepoint="t0", shift="none")
change.to_series().rename("ΔV (mm³)").round(0)

# %% [markdown]
# The same numbers are among the metrics, which were taken in the same pass as the masks.

# %%
float(abs(change - ds.delta_lesion_vol_mm3.sel(shift="none")).max())

# %% [markdown]
# ## What breaks it
#
# ΔV under a shift less ΔV as acquired: change that only a scanner made. The two levels of gamma are
# opposite directions, not severities.

# %%
spurious = ds.delta_lesion_vol_mm3 - ds.delta_lesion_vol_mm3.sel(shift="none", drop=True)
spurious.to_dataframe(name="ΔΔV (mm³)")["ΔΔV (mm³)"].unstack("shift").round(0)

# %% [markdown]
# ## What protects
#
# With `harmonizations: [median, histogram, nyul]` in study.yaml every harmonization is a label of
# one more dim. Without, there is `none` alone and the same lines work.

# %%
every = lamstore.open(study.path, engine=ENGINE, harmonization="all")
moved = abs(
    every.delta_lesion_vol_mm3 - every.delta_lesion_vol_mm3.sel(shift="none", drop=True)
).median("subject")
moved.to_dataframe(name="median |ΔΔV| (mm³)")["median |ΔΔV| (mm³)"].unstack("harmonization").round(
    0
)

# %% [markdown]
# ## Is the uncertain the wrong?
#
# Every voxel of the cohort, again a task a scan. ECE and areas with what was binned and dropped.

# %%
from analysis.voxel_tables import calibration_summary
from analysis.voxels import voxel_audit

voxels = voxel_audit(study)
pd.json_normalize(calibration_summary(voxels)).T

# %% [markdown]
# ## One patient
#
# The subject whose ΔV a scanner difference moves most, cropped to its own grid.

# %%
worst = str(abs(spurious).max("shift").idxmax("subject").item())
patient = ds.sel(subject=worst).lam.crop()
print(worst, dict(patient.sizes), "worst shift:", abs(spurious).sel(subject=worst).idxmax().item())

# %% [markdown]
# Lesions of the model and of the truth on the slices where there is most to see.

# %%
figure = ds.sel(subject=worst).lam.overlay(slices=2)
figure

# %% [markdown]
# ## The whole audit from the tables
#
# What the report holds, as objects: flags, correlations with intervals, groups, sentences.

# %%
from analysis.audit import audit
from analysis.store_tables import study_tables
from analysis.summary import summary

tables = study_tables(study)
mine = {
    name: frame[frame["engine"] == ENGINE] if len(frame) else None
    for name, frame in vars(tables).items()
}
result = audit(mine["longitudinal"], mine["uncertainty"])
print(summary(result))
