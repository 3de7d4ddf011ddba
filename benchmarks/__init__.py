"""Benchmarks of Penstock against the tools a user would otherwise pick."""
