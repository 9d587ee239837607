"""The local BigQuery: the emulator as released, and our patches of it."""
