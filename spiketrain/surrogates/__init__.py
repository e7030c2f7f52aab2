"""Spike functions: a step forward, a declared slope backward. One family per file; see docs/surrogates.md."""
