"""Patches for training, straight from the chunked store."""
