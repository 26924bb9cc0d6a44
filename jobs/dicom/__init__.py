"""What does a DICOM series hold, and can it be trusted?

`storage` gives bytes by name (a folder, a ZIP that is never extracted), `elements` raw values of
single tags, `header` what one file says about itself, `geometry` the order and the affine of a
stack of slices, `series` a whole series or the reason why it cannot be used, `pixels` its voxels,
`choice` the sagittal T2 series of a study, `scan` the series in a heap of files, `pseudonym` keyed
hashes in place of ids.

No identifier leaves this package: tags that name a person are never read, free text is reduced to
words of a fixed vocabulary (`words`), messages name a series by an id that its caller chose, and
no exception of the DICOM library, which may quote values, is passed on or chained.
"""
