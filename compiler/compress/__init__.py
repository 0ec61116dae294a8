"""The algorithms that shrink a network."""
