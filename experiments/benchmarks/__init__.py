"""What `python -m experiments.bench NAME` can run: a file each, with a function `run(options)` that compares."""
