"""A run from its first partition to its one mail: shared state, mapping onto subflows, progress, closing."""
