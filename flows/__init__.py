"""When, how many at once, what is already done: the composition root. Prefect lives here and in deployments.

Its modules from the top, with the question each answers; one imports only what is below it:

backfill, backfill_entities, backfill_series, backfill_family, daily, audit, watchdog, digest, operate: What does a
    deployment start?
cli, __main__: What did a person type?
simulate: What happens to a source's dates if everything that can fail does?
mapping, canaries: Which windows become subflows; which dates go first?
loading: Which landed partitions become one load?
views: What does a person want to know?
dates, process: The two subflows: land a window; load, recount and verify a batch.
closing: How does a run end, in whatever process is left?
child_runs: How is a run spread over other processes?
run: What is the state of ONE live run, and what may it do next?
truth: What is there, and what should be?
coordination: Who may touch a source, and when?
planning: What would be done, at what cost?
wiring, alert_wiring, settings, settings_reference: What is built from what?
ledger: What is known of every partition?
asked, parameters, prices, run_id, pages, log, calendar_dates, dropdowns, secret_blocks, server_password: Words and
    facts without behaviour.
"""

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
