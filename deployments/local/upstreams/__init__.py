"""The sample upstreams of the local stack: each speaks the contract of a source, with a made-up world behind it."""
