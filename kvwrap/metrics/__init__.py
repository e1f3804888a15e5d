"""Exporters of what `kvwrap.Statistics` counts; each loads its library when it is imported."""
