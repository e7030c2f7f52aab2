"""Synapses that learn from the spikes on both sides, one rule per file."""
