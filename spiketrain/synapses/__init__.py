"""Synapses, one model per file."""
