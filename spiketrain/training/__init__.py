"""Training: one jitted step, a loop that reads as sentences, checkpoints that resume bit for bit."""
