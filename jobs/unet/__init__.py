"""Which network segments lesions, how is it stored, and how does it see an image?

Shared by training (`jobs.training`) and by the engine ``unet`` (`jobs.engines.unet`), so that a
model meets at inference exactly what it was trained on.
"""
