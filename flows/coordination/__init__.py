"""Who may touch a source, and when: the lease and its loan to a daily run, cooldowns, blackouts."""
