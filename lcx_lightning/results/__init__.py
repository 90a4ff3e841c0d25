"""Results: records on disk and their views, which are tables, figures and a page."""
