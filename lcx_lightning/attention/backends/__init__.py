"""Attention backends: the fastest ways to attend over bands on each kind of device."""
