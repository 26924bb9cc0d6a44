"""Which code compresses and decompresses: the Rust pipeline, wherever lamstore touches Zarr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import zarr
import zarrs  # noqa: F401  (registers the pipeline)


@contextmanager
def fast_codecs() -> Iterator[None]:
    """Arrays opened inside use `zarrs`; the caller's own Zarr configuration is left alone."""
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        yield
