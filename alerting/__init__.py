"""What went wrong, and who is told. The leaf layer: no Prefect, no Google, no httpx.

Its modules from the top, with the question each answers; one imports only what is below it:

smart_alert_manager: The one object that flows talk to.
backfill_mode: One backfill: errors are collected, one mail is owed.
delivery, live_alerts, refused_mail, transports: Who sends pending mail; live alerts; a run that may not begin; does
    any transport work?
notices, owed_mail: The other mails, and the summary as first rendered.
channels, chat_channels, message, smtp_session: How does a mail leave?
family_summary, family_view, summary, summary_view, summary_rows, advice, coverage, verdict, live_texts: What does
    it say?
outbox, spool, limiter, pending_alerts, journal: What is kept until it is sent?
fingerprint, incident, run_facts, tracebacks, reading_faults, redacted_errors, headers: What happened, and what shares
    a cause?
versioned_record, object_store, local_store, memory_store, store_clock, instant: One object with many writers; the
    storage protocol; a folder and a dictionary as storage; the clock that all machines share; that of one.
errors: What happens next?
redaction, secret_*, randomness, unescaping: What is a secret?
wording, ranges, private_files, machine: Wording, date ranges, private files, and who is alive.
"""
