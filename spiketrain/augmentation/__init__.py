"""Augmentation of spike trains, on the device: what a batch is changed by before the model sees it, in training alone."""
