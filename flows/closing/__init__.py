"""Ends a run, from whatever process: closes the backfill, settles its ledger, writes its record, has its mail sent."""
