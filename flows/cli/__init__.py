"""The `gapless` command, one module per group of verbs."""
