"""What is there, compared level by level with what should be: inventory, deficits, recount, repair of the ledger."""
