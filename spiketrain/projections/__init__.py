"""Projections: comm says where spikes go, syn how they last, out what they do."""
