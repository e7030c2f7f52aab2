"""Neurons, one model per file."""
