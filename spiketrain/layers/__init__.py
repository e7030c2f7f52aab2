"""Layers that map trains to trains and know the shape of what they take: what a `Stack` is made of."""
