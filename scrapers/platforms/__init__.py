"""Kinds of upstreams that several sources share: their requests, catalogues and facts."""
