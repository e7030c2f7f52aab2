"""Fast ways through time for the step that `spiketrain.unroll` traces; each equals `lax.scan` of that step."""
