"""Ready models: wiring only."""
