"""Benchmarks of the whole mesh on one machine."""
