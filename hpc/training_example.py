"""What does a train.yaml look like? The text of `lam train --example`."""

EXAMPLE = """\
# What decides a model. Every key has a default; `runs/<name>/train.yaml` spells all of them out.
name: member1                  # folder of the run, below runs:
study: study                   # an ingested study with lesion truth (lam new, lam run)
runs: runs
channels: [flair, t1w]         # the first one is always needed, the others may be absent
spacing_mm: [1, 1, 1]
patch: [64, 64, 64]
window: [96, 96, 96]           # of inference; more context than the patch
batch: 2
steps_per_epoch: 100
epochs: 30
split: {rule: kfold, folds: 5, fold: 0}   # or leave_one_out, hold_out, subjects, file, all
loss: {name: dice_bce}         # or tversky, focal_tversky with alpha, beta, gamma
optimizer: {name: adamw, lr: 2.0e-3}
schedule: {name: cosine, warmup: 0.07}
augment:
  transplant:                  # real lesion shapes in other people's white matter; null: none
    share: 0.35
    masks: []                  # globs of NIfTI lesion masks beside those of the study itself
    common_space: false        # true when study and masks are all in MNI space
  modality_dropout: 0.2
validate_every: 5
patience: null
seed: 0
workers: 1
"""
