"""Measurements of the shipped pipeline, each beside its reference. See benchmarks/README.md."""
