"""From names and numbers in YAML to objects. Checked from schemas alone, before JAX is imported."""
