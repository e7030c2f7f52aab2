"""What drives a network: random sources, given spikes, and waveforms over time."""
