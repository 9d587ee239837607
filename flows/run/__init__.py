"""ONE live backfill in this process: its state, recording, progress, breaker, gate, supervision, interruption."""
