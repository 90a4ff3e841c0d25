"""Sweeps without a server: the files that W&B reads, run by workers that share a folder."""
