"""The console commands: thin entry points."""
