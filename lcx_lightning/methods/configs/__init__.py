"""The method files of Hydra, one YAML file per method."""
