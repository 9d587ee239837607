"""What to ask an upstream, and the raw zone its answers land in."""
