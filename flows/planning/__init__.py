"""What a backfill would do and what it would cost: pure where it can be, and read-only."""
