"""What to ask an upstream, and the raw zone its answers land in.

Its modules from the top, with the question each answers; one imports only what is below it:

registry: Which sources are there?
sources: What is special about one source?
platforms: What do sources of one platform share (Datasette, the NBA's calendar)?
spans, sweeps, first_date_search: Several dates by one call; all by one reading; where does a source begin?
scrape, attempt: One partition: pages landed as received, manifest last.
client: One call: its key, its budget, the meaning of its answer.
feeding: Which items did another source list, and which changed?
landing, manifest: What does the raw zone look like?
parts, sweep_reading: What is asked next where an answer reaches a cap?
object_store, counting_adapter, google_session, storage_errors: Cloud Storage.
pace: How many calls and writes, at once and by day?
base, addressing: What does a source declare?
auth, service_account, rate, oracle, entity_facts: Login, rate, expected items, facts of an entity.
transport: HTTP: bounded in time and size, no redirects, no cookies.
answers, bodies, charsets, checksums, challenges, json_bodies, csv_bodies, html_bodies, envelopes, emptiness,
    readiness, refusals, deadline, waits, excerpts: What did the server answer, and is it data?
partition, bands, rests, seasons, threads: Dates, pieces of a sweep, off-days, seasons; several questions at once.
"""
