"""The dashboard: one self-contained page of any number of experiments."""
