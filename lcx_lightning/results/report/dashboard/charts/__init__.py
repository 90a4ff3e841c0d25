"""Charts of the dashboard, one kind a file: Vega-Lite specifications whose rows the page fills in."""
