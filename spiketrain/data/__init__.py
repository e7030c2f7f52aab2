"""Data sets of trials with labels: the container, the vendored Japanese Vowels, and a user's own `.npz`."""
