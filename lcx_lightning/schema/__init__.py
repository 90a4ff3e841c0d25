"""Values that come from outside, and what they must be."""
