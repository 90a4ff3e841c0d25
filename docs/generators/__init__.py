"""What the documentation does not write by hand: tables and pages from YAML files, drawings from the code itself."""
