"""When, how many at once, what is already done: the composition root. Prefect lives here and in deployments."""

from alerting.redacted_errors import redact_uncaught_errors
from alerting.redaction import redact_every_record

# Before anything can be logged or raised: Prefect imports this package first, whatever it runs of it.
redact_every_record()
redact_uncaught_errors()
