"""What may run, when, and how much: leases, rates, blackout windows, breaker, canaries, interruptions."""
