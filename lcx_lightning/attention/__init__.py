"""How attention under a method is computed: dispatch to backends, rotation, and selection of keys."""
