"""When, how many at once, what is already done: the composition root. Prefect lives here and in deployments."""
