"""Connectivity and weights, one kind per file."""
