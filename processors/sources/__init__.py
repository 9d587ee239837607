"""One file per source: what the bytes mean. The module name is the source name."""
