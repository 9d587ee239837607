"""One file per source: what to ask. The module name is the source name."""
