"""How often a source and a storage object may be asked: budgets, rates, quotas, write pace."""
