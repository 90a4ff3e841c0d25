"""Key-value caches for models with a method."""
