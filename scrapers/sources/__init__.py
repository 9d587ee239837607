"""One file per source: what to ask. The module name is the source name.

Where to start, by what the source does, and an example of it:

returns pages: ``is_paginated``, ``page_size``, ``next_request``, ``keys`` to detect shifted pages; `racing_cards`
silently caps results: ``result_cap``, ``parts``, ``part_request``; ``Events`` below
takes a range of dates per call: ``days_per_call``; ``Sales`` below
ignores dates and caps its lists: ``sweeps``, ``axes``, ``band_request``, ``step = "month"``; `hemnet_sales`
returns everything about an entity: ``step = "whole"``, ``entities``, ``variants``, ``fresh_for``; `civic_band`
has dates per entity (shop, region): ``has_series``, ``entities``, ``entity_facts``; `coffee_shops`
lists a day's items, one call each: ``Findings.lists``, ``keys``, ``absent_ok``; `nba_boxscores`
gives details of items that another source lists: ``feeds_on``, ``item_request``; `hemnet_details`
corrects items later and lists the changes: ``Versioned``, ``Findings.versions``; `bigdataball_playbyplay`
returns snapshots as of an instant: ``next_request`` names the next instant; `odds_events`
only shows the present: ``keeps_history = False``; `bdl_injuries`
reaches back only so far: ``horizon``; `racing_results`
is one of several behind a login: ``account``, and a base class in `scrapers.platforms`; `racing_cards`
is several unrelated sites: ``domain = "site"``, each with its own rate, pauses and blocks; `coffee_shops`
shares a host with other sources: ``hosts``; `nba_schedule`
opens more to higher plans: ``tiers``, ``needs_tier``, ``entity_tiers``; `bdl_stats`
counts credits instead of calls: ``cost_unit``, ``cost``, ``quota_headers``; `odds_history`
explains errors in the body: ``problem``, ``says_absent``; `odds_history`
wants irregular pauses: ``Rate(pause_s=(5, 10))``; `hemnet_sales`
takes a POST: ``Request.post("/graphql", {...})``; `hemnet_details`
needs a login: ``SecretHeader``, ``SecretParam``, ``SecretBasic``, ``TokenAuth``, ``SessionCookie``; `bdl_games`
sends CSV, or JSON inside HTML: ``parsed_csv``, ``parsed_embedded_json``, ``accept``; `bigdataball_playbyplay`

A source that cuts at 1,000 rows (see :mod:`scrapers.parts`)::

    MINUTE = dt.timedelta(minutes=1)

    class Events(Scraper):
        result_cap = 1000

        def parts(self, partition: Partition) -> range:
            return partition.steps(MINUTE)

        def part_request(self, partition: Partition, part: range) -> Request:
            begin, end = partition.instants_of(part, MINUTE)
            return Request("/events", (("from", begin.isoformat()), ("to", end.isoformat())))

A source of 90 dates a call, whose ``empty_evidence`` proves those without rows (see :mod:`scrapers.spans`)::

    class Sales(Scraper):
        result_cap = 1000
        days_per_call = 90

        def first_request(self, partition: Partition) -> Request:
            last = partition.end - dt.timedelta(days=1)
            return Request("/sales", (("from", str(partition.start)), ("to", str(last))))

        def inspect(self, partition: Partition, page: Page) -> Findings:
            rows = parsed_json(page.body)
            dates = dates_of((dt.date.fromisoformat(row["date"]), "sales", row) for row in rows)
            return Findings({"sales": len(rows)}, empty_evidence=f"{len(rows)} rows in all", dates=dates)
"""
