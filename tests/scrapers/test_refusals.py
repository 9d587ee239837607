"""What APIs refuse in words: a limit or a login, whatever the status, the dialect and the language."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    ConfigurationError,
    PipelineError,
    RateLimited,
    SourceContractError,
    SourceUnavailable,
)
from scrapers.answers import Answer, problem_in
from scrapers.json_bodies import parsed_json

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def meant(status: int, body: str, accept: str = "application/json", **headers: str) -> type[PipelineError] | None:
    problem = problem_in(Answer(status, headers, body.encode(), NOW), {}, accept)
    return None if problem is None else type(problem)


OF_CALLS = {
    "Discord": '{"message":"You are being rate limited.","retry_after":64.57,"global":false}',
    "GraphQL": '{"errors":[{"message":"no","extensions":{"code":"RATE_LIMITED"}}],"data":null}',
    "AWS": '{"__type":"TooManyRequestsException","message":null}',
    "AWS, in words": '{"__type":"ThrottlingException","message":"Rate exceeded"}',
    "S3": '<?xml version="1.0"?><Error><Code>SlowDown</Code></Error>',
    "Azure": '{"error":{"code":"TooManyRequests","message":"busy"}}',
    "Slack": '{"ok":false,"error":"ratelimited"}',
    "Anthropic": '{"type":"error","error":{"type":"rate_limit_error","message":"slower"}}',
    "HubSpot": '{"status":"error","message":"wait","errorType":"RATE_LIMIT","policyName":"SECONDLY"}',
    "Binance": '{"code":-1003,"msg":"Too much request weight used; wait"}',
    "Salesforce": '[{"message":"TotalRequests","errorCode":"REQUEST_LIMIT_EXCEEDED"}]',
    "Apigee": '{"fault":{"faultstring":"Spike arrest violation"}}',
    "Laravel": '{"message":"Too Many Attempts."}',
    "plain words": "Rate limit exceeded",
    "a text of JSON": '"Too many requests"',
    "German": '{"message":"Zu viele Anfragen. Bitte später erneut versuchen."}',
    "French": '{"message":"Trop de requêtes"}',
    "Spanish": '{"error":"Demasiadas solicitudes"}',
    "Portuguese": '{"erro":"Muitas requisições"}',
    "Polish": '{"error":"Zbyt wiele żądań"}',
    "Russian": '{"error":"Слишком много запросов"}',
    "Turkish": '{"error":"Çok fazla istek"}',
    "Chinese": '{"code":429001,"msg":"请求过于频繁"}',
    "Chinese, escaped": json.dumps({"msg": "访问太频繁"}),
    "Japanese": '{"error":"リクエストが多すぎます"}',
    "Shopify": '{"errors":[{"message":"Throttled"}],"extensions":{"cost":{"requestedQueryCost":752}}}',
    "MusicBrainz": '{"error":"Your requests are exceeding the allowable rate limit."}',
    "Korean": '{"error":"요청이 너무 많습니다"}',
}
OF_ANY = {
    "RapidAPI": '{"message":"You have exceeded the MONTHLY quota for Requests on your current plan"}',
    "CoinMarketCap": '{"status":{"error_code":1008,"error_message":"exceeded your API Key\'s HTTP request limit"}}',
    "Azure's gateway": '{"message":"Out of call volume quota. Quota will be replenished in 12:03:04."}',
    "Ruby": "Retry later\n",
    "Alpha Vantage": '{"Note":"Our standard API call frequency is 5 calls per minute and 500 calls per day."}',
    "German": '{"fehler":"Kontingent ausgeschöpft"}',
    "Italian": '{"errore":"Limite superato"}',
}


@pytest.mark.parametrize("said", OF_CALLS.values(), ids=OF_CALLS)
def test_a_limit_of_calls_is_one_with_any_status_and_in_any_language(said):
    assert [meant(status, said) for status in (200, 400, 401, 403, 418, 500, 503)] == [RateLimited] * 7


@pytest.mark.parametrize("said", OF_ANY.values(), ids=OF_ANY)
def test_any_limit_counts_where_the_call_was_refused(said):
    assert [meant(status, said) for status in (400, 403)] == [RateLimited] * 2


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (403, '{"message":"Your plan does not include this; upgrade for higher rate limits"}', AuthenticationError),
        (403, '{"message":"Key disabled","limits":{"rate_limit":100}}', AuthenticationError),
        (400, '{"message":"date is out of range"}', ConfigurationError),
        (503, '{"message":"memory limit exceeded, try again later"}', SourceUnavailable),
        (500, "<html><p>Too many requests", SourceUnavailable),
        (200, '{"success":true,"title":"Too many requests were seen"}', None),
        (200, '[{"id":7,"title":"Too many requests"}]', None),
    ],
)
def test_what_only_speaks_of_limits_is_none(status, said, kind):
    assert meant(status, said) is kind


def test_words_of_a_limit_that_are_labelled_as_a_page_are_no_block():
    assert meant(200, "Too Many Requests\r\n", **{"content-type": "text/html"}) is RateLimited
    assert meant(200, "<p>Too many requests", **{"content-type": "text/html"}) is BlockedBySource


def test_a_table_with_such_words_is_data():
    assert meant(200, "id,said\n1,rate limit exceeded\n", "text/csv") is None
    assert meant(200, "Rate limit exceeded\n", "text/csv") is RateLimited


@pytest.mark.parametrize(
    "said",
    [
        '{"error":"unauthorized"}',
        '{"error":"invalid_token","error_description":"The access token expired"}',
        '{"message":"Invalid API key"}',
        '{"success":false,"message":"Authentication required"}',
        "Not authorized",
    ],
)
def test_a_login_that_is_refused_as_a_success_is_one(said):
    assert meant(200, said) is AuthenticationError


CLOUDFLARES_LIMIT = """<!DOCTYPE html><head><title>Access denied | a.example used Cloudflare to restrict access</title>
<script src="/cdn-cgi/challenge-platform/x.js"></script></head><h1><span>Error</span> <span>1015</span></h1>
<h2>You are being rate limited</h2>"""
CLOUDFLARE = '{"title":"Error %d","status":403,"error_code":%d,"cloudflare_error":true}'


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (403, "<h1>Developer Inactive</h1>", AuthenticationError),
        (403, "<h1>Developer Over Qps</h1>", RateLimited),
        (403, "error code: 1010", BlockedBySource),
        (403, "Error code: 1020\n", BlockedBySource),
        (403, CLOUDFLARE % (1010, 1010), BlockedBySource),
        (403, CLOUDFLARE % (1015, 1015), RateLimited),
        (403, "error code: 1015", RateLimited),
        (530, "error code: 1033", SourceUnavailable),
        (429, "<!DOCTYPE html><script>window.KPSDK={}</script>", BlockedBySource),
        (429, '{"sec-cp-challenge": "true","provider":"crypto"}', BlockedBySource),
        (403, '{"captcha_sitekey":"x","captcha_service":"hcaptcha"}', BlockedBySource),
        (200, '{"url":"https://geo.captcha-delivery.com/captcha/?a=1"}', BlockedBySource),
        (200, '{"error":"captcha_required"}', BlockedBySource),
        (200, '{"message":"Access denied by Imunify360 bot-protection. IPs should be whitelisted"}', BlockedBySource),
        (403, '{"message":"Access denied by Imunify360 bot-protection"}', BlockedBySource),
        (
            403,
            '{"appId":"PXabc12345","blockScript":"https://captcha.px-cdn.net/PXabc12345/captcha.js"}',
            BlockedBySource,
        ),
        (405, "<html><head><title>Pardon Our Interruption</title>", BlockedBySource),
        (503, "<title>Your access to this site has been limited</title>Generated by Wordfence", BlockedBySource),
        (429, CLOUDFLARES_LIMIT, RateLimited),
        (403, CLOUDFLARES_LIMIT.replace("1015", "1020").replace("rate limited", "blocked"), BlockedBySource),
        (200, json.dumps({"data": ["captcha_required"] * 200}), None),
        (418, "<title>Checking you are not a bot</title>", BlockedBySource),
        (406, "<head><title>Not Acceptable!</title>", BlockedBySource),
        (200, "<article>Bitte anmelden</article>", BlockedBySource),
        (200, "\u00a0<html>", BlockedBySource),
        (404, "<html><pre>Cannot GET /v1</pre>", SourceContractError),
        (200, "<br />\n<b>Warning</b>:  Undefined array key in <b>/var/www/x.php</b>\n[]", SourceUnavailable),
    ],
)
def test_a_ban_is_one_and_a_fault_of_the_server_is_none_whatever_form_they_have(status, said, kind):
    assert meant(status, said) is kind


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("https://www.google.com/sorry/index?continue=x", BlockedBySource),
        ("https://validate.perfdrive.com/?ssa=x", BlockedBySource),
        ("/login", SourceContractError),
    ],
)
def test_a_redirect_to_a_challenge_is_a_block(place, kind):
    assert meant(302, "", location=place) is kind


@pytest.mark.parametrize("body", [b"\xff\xfe", b"\xff\xfe\0\0", "\u00a0\u200b\u2028".encode(), b"\0" * 500])
def test_what_nobody_could_read_is_an_empty_body(body):
    problem = problem_in(Answer(200, {}, body, NOW), {}, "application/json")
    assert isinstance(problem, SourceUnavailable)
    assert problem.facts["cut_body"]


@pytest.mark.parametrize("said", [b"upstream connect error or disconnect/reset before headers", b"Service Unavailable"])
def test_a_sentence_in_place_of_json_is_asked_for_again(said):
    with pytest.raises(SourceUnavailable, match="words came in place of JSON") as caught:
        parsed_json(said)
    assert caught.value.facts["cut_body"]
