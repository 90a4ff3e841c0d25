"""Lightning callbacks of a training stage."""
