"""Measurements that the README and the docs quote: each prints a table and writes a dated results file."""
