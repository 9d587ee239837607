"""What went wrong, and who is told. The leaf layer: no Prefect, no Google, no httpx."""
