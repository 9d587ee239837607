"""What a document says of itself: an error, a part, one page of several; and what looks like it and is none."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from alerting.errors import (
    AuthenticationError,
    PipelineError,
    RateLimited,
    SourceContractError,
    SourceUnavailable,
    Truncated,
)
from scrapers.answers import Answer, problem_in
from scrapers.json_bodies import parsed_json

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ROWS = {"data": [{"id": 1}, {"id": 2}]}


def read(document: Any, *follows: str) -> Any:
    return parsed_json(json.dumps(document).encode(), follows)


@pytest.mark.parametrize(
    "said",
    [
        {"status": "error"},
        {"status": 429},
        {"code": "503"},
        {"message": "API rate limit exceeded"},
        {"warning": "partial results, the upstream timed out"},
        {"success": "false"},
        {"isError": True},
        {"incomplete_results": True},
        {"partialFailureError": {"code": 3}},
        {"message": "Only the first 10 results are shown"},
        {"message": ["Year range has been reduced to the system-allowed limit of 10 years."]},
        {"meta": {"status": "timeout"}},
        {"meta": {"error": "backend"}},
        {"meta": {"note": "Free plan: results limited to the last 10 games"}},
        {"warnings": ["Results limited to 10 rows"]},
        {"warnings": ["faltan datos de 2 fuentes"]},
        {"message": "Données partielles"},
        {"meta": {"status": {"code": 503}}},
        {"status": {"code": 500, "message": "Internal"}},
        {"exceptions": [{"text": "x"}]},
        {"extensions": {"errors": [{"message": "x"}]}},
        {"remark": 'runtime error: Query timed out in "query" at line 4 after 61 seconds.'},
        {"remarks": ["truncated to 100 rows"]},
        {"notice": "data of 2 games is missing"},
        {"queryStatus": "TIMEOUT"},
        {"resultStatus": "INCOMPLETE_RESULTS"},
        {"errorCount": 2},
        {"meta": {"num_failed": "1"}},
        {"isTimedOut": "yes"},
        {"aborted": True},
        {"hadErrors": True},
        {"job": {"status": "failed"}},
    ],
    ids=str,
)
def test_an_error_beside_rows_is_retried(said):
    with pytest.raises(SourceUnavailable, match=r"error beside its data|not all of its data is there"):
        read({**ROWS, **said})


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"next": "/p/2"}, "next"),
        ({"nextPageToken": "x"}, "nextPageToken"),
        ({"meta": {"next_cursor": 25}}, "meta.next_cursor"),
        ({"meta": {"pagination": {}, "total": 3}}, "meta.total"),
        ({"total": "500"}, "total"),
        ({"totalElements": 3}, "totalElements"),
        ({"current_page": 1, "last_page": 2}, "last_page"),
        ({"truncated": True}, "truncated"),
        ({"records_truncated": True}, "records_truncated"),
        ({"endOfRecords": False}, "endOfRecords"),
        ({"end_of_stream": False}, "end_of_stream"),
        ({"continue": {"sroffset": 10}}, "continue"),
        ({"LastEvaluatedKey": {"id": {"S": "7"}}}, "LastEvaluatedKey"),
        ({"response_metadata": {"next_cursor": "dGVh"}}, "response_metadata.next_cursor"),
        ({"totalSize": 2000}, "totalSize"),
        ({"@odata.count": 500}, "@odata.count"),
        ({"page": 0, "nbPages": 4}, "nbPages"),
        ({"page": 1, "pages": 3}, "pages"),
        ({"pages": {"page": 1, "total_pages": 3}}, "pages.total_pages"),
        ({"offset": "itrXYZ/rec7"}, "offset"),
        ({"total": 500.0}, "total"),
        ({"moreResultsAvailable": True}, "moreResultsAvailable"),
        ({"games": {"hasMore": True, "items": []}}, "games.hasMore"),
        (
            {"additional_data": {"pagination": {"more_items_in_collection": True}}},
            "additional_data.pagination.more_items_in_collection",
        ),
        ({"links": [{"rel": ["next"], "href": "/p/2"}]}, "links.next"),
        ({"games": {"pageInfo": {"hasNextPage": True}}}, "games.pageInfo.hasNextPage"),
        ({"viewer": {"games": {"pageInfo": {"hasNextPage": True}}}}, "viewer.games.pageInfo.hasNextPage"),
        ({"properties": {"exceededTransferLimit": True}}, "properties.exceededTransferLimit"),
        ({"meta": {"pagination": {"pageCount": 4}}}, "meta.pagination.pageCount"),
        ({"meta": {"page": {"has_more": True}}}, "meta.page.has_more"),
        ({"metadata": {"resultset": {"count": 57, "limit": 25}}}, "metadata.resultset.count"),
        ({"link": {"relation": "next", "url": "/p/2"}}, "link.next"),
        ({"numberMatched": 57, "numberReturned": 2}, "numberMatched"),
        ({"opensearch:totalResults": 57}, "opensearch:totalResults"),
        ({"nextUri": "/p/2"}, "nextUri"),
        ({"page": "1/3"}, "page"),
        ({"complete": 0}, "complete"),
        ({"isComplete": "N"}, "isComplete"),
        ({"allLoaded": "no"}, "allLoaded"),
        ({"partial": 1}, "partial"),
        ({"resultLimitExceeded": True}, "resultLimitExceeded"),
        ({"total": "1,234"}, "total"),
        ({"total": "500+"}, "total"),
        ({"total": "more than 1\u202f000"}, "total"),
        ({"total": {"count": 500}}, "total"),
        ({"resultCount": 500}, "resultCount"),
        ({"row_count": "500"}, "row_count"),
        ({"results_total": 500}, "results_total"),
        ({"contentRange": "items 0-1/500"}, "contentRange"),
        ({"showing": "1 to 2 of 500 games"}, "showing"),
        ({"info": {"count": 826, "pages": 42, "next": "https://a.example/?page=2"}}, "info"),
        ({"navigation": {"next": "/p/2"}}, "navigation.next"),
        ({"resumptionToken": "7!2"}, "resumptionToken"),
        ({"_scroll_id": "DXF1"}, "_scroll_id"),
        ({"next_max_id": "7"}, "next_max_id"),
    ],
    ids=str,
)
def test_more_than_came_is_truncated_unless_the_scraper_reads_that_field_itself(said, field):
    with pytest.raises(Truncated):
        read({**ROWS, **said})
    # One of the place is enough to leave it alone where all of it is read.
    follows = (field, *(f"{field}.{name}" for name in said[field])) if isinstance(said.get(field), dict) else (field,)
    assert read({**ROWS, **said}, *follows)["data"] == ROWS["data"]


@pytest.mark.parametrize(
    "said",
    [
        {"status": "ok", "code": 200, "message": "Success"},
        {"next": None, "previous": "/p/1", "count": 2},
        {"total": 2, "total_pages": 1, "last_page": 1, "page": 1},
        {"meta": {"code": 200, "total": 1}},
        {"links": {"self": "/", "next": ""}},
        {"has_more": False, "last": True, "truncated": False, "errors": []},
        {"next_timestamp": "2025-01-03T11:00:38Z", "count": True},
        {
            "done": True,
            "totalSize": 2,
            "endOfRecords": True,
            "continue": True,
            "response_metadata": {"next_cursor": ""},
        },
        {"viewer": {"games": {"pageInfo": {"hasNextPage": False, "endCursor": "x"}}}},
        {"book": {"title": "x", "pages": 300, "next": "y"}},
        {"more": "https://a.example/docs", "moreData": False},
        {"meta": {"pagination": {"total": 2, "pageCount": 1, "links": {"next": None}}, "job": {"state": "done"}}},
        {"link": [{"relation": "self", "url": "/"}], "status": {"code": 0, "message": "ok"}, "page": "1 of 1"},
        {"link": "https://a.example/", "links": 7, "end": "2025-01-03", "nextSyncToken": "x", "remaining": 0},
        {"offset": "0", "meta": {"status": "success", "note": "limited edition"}, "message": "first 2 of all"},
        {"complete": 1, "partial": 0, "resultCount": 2, "total": "2", "errorCount": 0, "progress": 1.0},
        {"contentRange": "items 0-1/2", "showing": "1-2 of 2", "info": {"pages": 1, "next": None}, "range": "10-20 km"},
        {"notice": "this endpoint will be unavailable from 2027 on", "stage": "final", "final": True},
    ],
    ids=str,
)
def test_what_says_that_all_is_there_is_read(said):
    assert read({**ROWS, **said})["data"] == ROWS["data"]


@pytest.mark.parametrize(
    "document",
    [
        {"success": True, "result": {"records": [1, 2], "fields": [1], "limit": 2, "total": 5000}},
        {"result": {"count": 5000, "results": [1, 2], "facets": {}}},
        {"response": {"numFound": 500, "start": 0, "docs": [1]}},
        {"response": {"total": "99999", "data": [1]}, "apiVersion": "2.1"},
        {"took": 3, "hits": {"total": {"value": 10_000, "relation": "gte"}, "hits": [1]}},
        {"d": {"results": [1], "__next": "https://a.example/Games?$skiptoken=20"}},
        [{"page": 1, "pages": 7, "per_page": 50, "total": 304}, [1]],
    ],
    ids=["CKAN", "CKAN's packages", "Solr", "EIA", "Elasticsearch", "OData 2", "the World Bank"],
)
def test_an_envelope_within_the_document_that_announces_more_is_truncated(document):
    with pytest.raises(Truncated):
        read(document)


RATES = {"USD": 1.09, "JPY": 163.2}


@pytest.mark.parametrize("lies_in", ["", "meta", "data", "result"])
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"complete": False}, Truncated),
        ({"is_complete": "false"}, Truncated),
        ({"partial": True}, Truncated),
        ({"partial": "True"}, Truncated),
        ({"exceededTransferLimit": True}, Truncated),
        ({"jobComplete": False}, Truncated),
        ({"status": "partial"}, SourceUnavailable),
        ({"errors": [{"message": "JPY timed out"}]}, SourceUnavailable),
        ({"failures": ["JPY"]}, SourceUnavailable),
        ({"warnings": ["2 of 40 providers did not answer"]}, SourceUnavailable),
        ({"warning": "JPY is missing"}, SourceUnavailable),
        ({"_shards": {"total": 5, "failed": 1}}, SourceUnavailable),
    ],
    ids=str,
)
def test_a_document_without_a_list_that_says_it_is_not_whole_is_not_called_done(said, kind, lies_in):
    document = {"base": "EUR", "rates": RATES, **({lies_in: {"rates": RATES, **said}} if lies_in else said)}
    with pytest.raises(kind):
        read(document)


@pytest.mark.parametrize(
    "said",
    [
        {"complete": True, "partial": False, "errors": [], "warnings": []},
        {"warnings": ["parameter 'symbols' is deprecated"], "status": "complete"},
        {"warnings": [{"code": 7, "text": "This endpoint will be unavailable from 2027 on: migrate to v2"}]},
        {"failures": 2, "_shards": {"total": 5, "failed": 0}},
        {"failures": {"total": 0, "items": []}},
        {"data": {"home": [1, 2, 3], "total": 210, "errors": 1}},
    ],
    ids=str,
)
def test_a_document_without_a_list_that_is_whole_is_read(said):
    assert read({"rates": RATES, **said})["rates"] == RATES


@pytest.mark.parametrize("lies_in", ["", "meta"])
@pytest.mark.parametrize(
    "said",
    [
        {"status": "processing"},
        {"status": "In progress"},
        {"state": "QUEUED"},
        {"ready": False},
        {"isReady": "false"},
        {"pending": True},
        {"preliminary": True},
        {"status": 202},
        {"httpStatus": 206},
        {"message": "Data is not yet available"},
        {"note": "still being processed, come back later"},
        {"status": "Accepted"},
        {"status": "submitted"},
        {"jobStatus": "esriJobExecuting"},
        {"done": False},
        {"retry_after": 30},
        {"percentComplete": 45.0},
        {"isRunning": True},
        {"isFinal": False},
        {"settled": "false"},
        {"loading": True},
        {"maintenanceMode": True},
        {"progress": 0.4},
        {"dataState": "STALE"},
        {"stage": "loading"},
        {"job": {"status": "RUNNING"}},
    ],
    ids=str,
)
def test_data_that_is_not_ready_yet_is_asked_for_again_and_never_done(said, lies_in):
    for rows in (ROWS["data"], []):
        with pytest.raises(SourceUnavailable, match=r"not ready yet|error beside its data"):
            read({"data": rows, **({lies_in: said} if lies_in else said)})


@pytest.mark.parametrize(
    "document",
    [
        {"status": "processing", "job_id": "7", "progress": 0.4},
        {"state": "RUNNING"},
        {"ready": False},
        {"status": 202, "message": "accepted"},
        {"message": "Report is being generated"},
        {"jobId": "j1", "jobStatus": "esriJobSubmitted", "messages": []},
    ],
    ids=str,
)
def test_a_word_that_it_is_not_ready_in_place_of_data_is_asked_for_again(document):
    problem = problem_in(Answer(200, {}, json.dumps(document).encode(), NOW), {}, "application/json")
    assert isinstance(problem, SourceUnavailable)


@pytest.mark.parametrize(
    "document",
    [
        {**ROWS, "status": "scheduled"},
        {**ROWS, "meta": {"status": "live", "pending": 3, "ready": True}},
        {"id": 7, "status": "pending", "players": [1, 2]},
        {"data": {"id": 7, "state": "running", "pending": True}},
        {**ROWS, "status": 200, "message": "being fast is being good"},
        {**ROWS, "done": True, "retry_after": 0, "percentComplete": 100},
        {"id": 7, "done": False, "percentDone": 20},
        {"id": 7, "players": [1, 2], "completed": False, "errorCount": 3, "job": "coach"},
        {"id": 7, "final": False, "info": {"state": "running", "next": "y", "count": 12}},
    ],
    ids=str,
)
def test_the_state_of_a_row_is_no_word_about_all_of_them(document):
    assert read(document) == document


def test_what_the_scraper_reads_itself_is_its_own_business():
    assert read({**ROWS, "status": "processing"}, "status")
    assert read({**ROWS, "meta": {"status": "processing"}}, "meta.status")


def test_more_behind_the_one_object_that_has_the_data_is_not_left_behind():
    with pytest.raises(Truncated):
        read({"data": {"items": [1], "has_more": True}})
    assert read({"data": {"items": [1], "has_more": True}}, "data.has_more")


@pytest.mark.parametrize(
    "row",
    [{"id": 7, "status": "failed", "total": 12}, {"id": 7, "code": 404, "message": "rate limit exceeded"}],
    ids=str,
)
def test_a_row_that_comes_alone_has_a_state_and_a_total_of_its_own(row):
    assert read(row) == row


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"error": "Too many requests"}, RateLimited),
        ({"message": "API rate limit exceeded"}, RateLimited),
        ({"error": {"code": 429, "message": "slow down"}}, RateLimited),
        ({"Note": "Thank you! Our standard API call frequency limit has been reached."}, RateLimited),
        ({"errors": {"requests": "request limit for the day reached"}, "results": 0, "response": []}, RateLimited),
        ({"status": "0", "message": "NOTOK", "result": "Max rate limit reached"}, RateLimited),
        ({"status": "0", "message": "NOTOK", "result": "Invalid API Key"}, AuthenticationError),
        ({"error": {"code": 401, "message": "Invalid API key"}}, AuthenticationError),
        ({"cod": "401", "message": "Invalid API key"}, AuthenticationError),
        ({"status": "error", "message": "backend"}, SourceUnavailable),
        ({"errors": [{"status": "503", "title": "maintenance"}]}, SourceUnavailable),
        ({"statusCode": 502, "message": "Bad gateway"}, SourceUnavailable),
        ({"success": False}, SourceUnavailable),
        ({"ok": False, "error_code": 429, "description": "Too Many Requests", "parameters": {}}, RateLimited),
        ({"status_code": 25, "status_message": "over the allowed limit of (40)", "success": False}, RateLimited),
        ({"ok": False, "error": "invalid_auth"}, AuthenticationError),
        ({"error": {"code": 404}}, SourceContractError),
    ],
    ids=str,
)
def test_an_error_in_place_of_data_is_what_it_says_and_not_another_shape(document, kind):
    answer = Answer(200, {"retry-after": "7"}, json.dumps(document).encode(), NOW)
    problem = problem_in(answer, {}, "application/json")
    assert type(problem) is kind, problem
    assert kind is not RateLimited or problem.retry_after_s == 7.0
    assert isinstance(problem, PipelineError)
    assert "status 200 came with an error in place of data" in problem.message


@pytest.mark.parametrize(
    "document",
    [{"message": "Success"}, {"id": 1, "error": None}, {}, [], {"status": "ok"}, {"status": "1", "result": "12345"}],
    ids=str,
)
def test_what_is_no_error_is_left_to_the_scraper(document):
    assert problem_in(Answer(200, {}, json.dumps(document).encode(), NOW), {}, "application/json") is None
