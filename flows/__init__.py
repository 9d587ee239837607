"""When, how many at once, what is already done: the composition root. Prefect lives here and in deployments."""

from gapless import refuse_neighbours

# Before the first import of ours: another project's package of the same name would be run.
refuse_neighbours()

from alerting.redacted_errors import redact_uncaught_errors  # noqa: E402
from alerting.redaction import redact_every_record  # noqa: E402
from flows.server_password import register_server_passwords  # noqa: E402

# Before anything can be logged or raised: Prefect imports this package first, whatever it runs of it.
redact_every_record()
redact_uncaught_errors()
register_server_passwords()
