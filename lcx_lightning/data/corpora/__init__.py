"""Corpora: named documents in three splits."""
