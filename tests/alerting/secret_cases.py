"""Secrets as they stand in texts, and sentences that hold none. Shared by the tests of redaction and by the fuzz."""

from __future__ import annotations

import html
import json
import random
import urllib.parse
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from typing import Any
from xml.sax.saxutils import escape, quoteattr


def _words(text: str) -> list[str]:
    return text.split()


NAMES = _words(
    "apiKey api_key api-key APIKEY X-Api-Key X-RapidAPI-Key x_rapidapi_key appid app_id smtpPassword SMTP_PASSWORD "
    "db_pass password passwd passphrase pwd userPassword SecretAccessKey AWS_SECRET_ACCESS_KEY aws_session_token "
    "X-Amz-Security-Token access_token accessToken refresh_token id_token auth_token authToken X-Auth-Token "
    "csrf_token client_secret clientSecret app_secret shared_secret secret secrets token tokens credentials "
    "api_keys apiKeys private_key PrivateKey privateKey signing_key encryptionKey master_key Ocp-Apim-Subscription-Key "
    "subscription-key account_key SharedAccessKey storage_key consumer_secret jwt PRIVATE-TOKEN X-Vault-Token "
    "bearer_token webhook_url webhookUrl license_key deploy_key password2 secret_old"
)
"""Names under which any value is a secret; ``LIKELY_NAMES`` need one that looks like a key."""
LIKELY_NAMES = _words("key auth sig signature session_id sessionid sid csrf appid app_id hmac x_key")

# Where a value stands as it is, where no character of a password has a meaning of its own.
QUOTED: dict[str, Callable[[str, str], str]] = {
    "JSON": lambda name, value: json.dumps({name: value, "page": 1}),
    "JSON with the text escaped": lambda name, value: json.dumps(json.dumps({name: value})),
    "JSON escaped twice": lambda name, value: json.dumps(json.dumps(json.dumps({name: value}))),
    "JSON, indented": lambda name, value: json.dumps({"a": {name: value}}, indent=2),
    "JSON list": lambda name, value: json.dumps({name: [value, value]}),
    "dictionary": lambda name, value: str({name: value, "page": 1}),
    "dictionary of bytes": lambda name, value: str({name.encode(): value.encode()}),
    "bytes key": lambda name, value: str({name.encode(): value}),
    "pairs": lambda name, value: str([(name, value), ("page", "1")]),
    "pairs of bytes": lambda name, value: str([(name.encode(), value.encode())]),
    "JSON pairs": lambda name, value: json.dumps([[name, value + "1"]]),
    "header object": lambda name, value: f"Headers({{{name.lower()!r}: {value!r}, 'accept': '*/*'}})",
    "keyword": lambda name, value: f"connect(host='x', {name.replace('-', '_')}={value!r}, port=1)",
    "item": lambda name, value: f"headers[{name!r}] = {value!r}",
    "name and value": lambda name, value: json.dumps([{"name": name, "value": value}]),
    "shell": lambda name, value: f"export {name.replace('-', '_')}='{value}' && run",
    "TOML": lambda name, value: f"host = 1\n{name} = {json.dumps(value)}\n",
    "YAML": lambda name, value: f"host: x\n{name}: {json.dumps(value)}\n",
    "element": lambda name, value: f"<r><{name}>{escape(value)}</{name}><page>1</page></r>",
    "element with a name space": lambda name, value: f"<ns:{name}>{escape(value)}</ns:{name}>",
    "CDATA": lambda name, value: f"<{name}><![CDATA[{value}]]></{name}>",
    "attribute": lambda name, value: f"<login user='me' {name}={quoteattr(value)}/>",
    "attribute of a key": lambda name, value: f"<add key={name!r} value={quoteattr(value)} />",
    "input": lambda name, value: f'<input type="hidden" name="{name}" value="{html.escape(value)}">',
    "HTML of JSON": lambda name, value: html.escape(json.dumps({name: value})),
    "URL of JSON": lambda name, value: urllib.parse.quote(json.dumps({name: value})),
    "query": lambda name, value: f"GET https://x.test/a?{urllib.parse.urlencode({'d': 1, name: value, 'e': 2})} 401",
    "query, quoted": lambda name, value: (
        "next=" + urllib.parse.quote(f"/a?d=1&{urllib.parse.urlencode({name: value})}&e=2")
    ),
    "query, quoted twice": lambda name, value: urllib.parse.quote(
        urllib.parse.quote(f"/a?{urllib.parse.urlencode({name: value})}&e=2", safe=""), safe=""
    ),
    "form field": lambda name, value: f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--b--',
    "table": lambda name, value: f"| name | value |\n| {name} | pl4in-T3xt-key-0 |\n{name}={value}",
    "own line": lambda name, value: f"first line\n{name}={value}\nlast line",
    "header": lambda name, value: f"GET / HTTP/1.1\r\n{name}: {value}\r\nAccept: */*\r\n",
}
WRITTEN_RAW = frozenset({"form field", "table", "own line", "header"})
"""A space ends a value in these."""
NO_QUOTE = frozenset({"shell"})

HEADERS: dict[str, Callable[[str], str]] = {
    "bearer": lambda value: f"Authorization: Bearer {value}",
    "bearer, then text": lambda value: f"sent Authorization: Bearer {value}, got 401",
    "bearer in a dictionary": lambda value: str({"Authorization": f"Bearer {value}"}),
    "bearer of bytes": lambda value: str({b"authorization": f"Bearer {value}".encode()}),
    "bearer in pairs": lambda value: str([(b"authorization", f"Bearer {value}".encode())]),
    "bearer in curl": lambda value: f"curl -H 'Authorization: Bearer {value}' https://x.test",
    "bearer in escaped JSON": lambda value: json.dumps(json.dumps({"authorization": f"Bearer {value}"})),
    "bare": lambda value: f"Authorization: {value}",
    "proxy": lambda value: f"Proxy-Authorization: Basic {value}",
    "token": lambda value: f'Authorization: Token token="{value}"',
    "digest": lambda value: f'Authorization: Digest username="me", realm="x", response="{value}"',
    "signature": lambda value: (
        f"Authorization: AWS4-HMAC-SHA256 Credential={value}/2024/us/s3, SignedHeaders=host, Signature={value}"
    ),
    "cookie": lambda value: f"Cookie: a=1; sid={value}; b=2",
    "cookie, quoted": lambda value: f'Cookie: a=1; sid="{value}"; b=2',
    "cookie in a dictionary": lambda value: str({"Cookie": f"sid={value}; x=y"}),
    "cookie in JSON": lambda value: json.dumps({"cookie": f'sid="{value}"; x=y'}),
    "cookies": lambda value: json.dumps({"cookies": {"s": value}}),
    "set-cookie": lambda value: f"Set-Cookie: sid={value}; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT; HttpOnly",
    "set-cookie object": lambda value: _cookie(value),
    "cookie jar": lambda value: f"<Cookies[<Cookie sid={value} for x.test />]>",
}
ADDRESSES: dict[str, Callable[[str], str]] = {
    "user and password": lambda value: f"postgres://me:{value}@db.test:5432/prices failed",
    "password alone": lambda value: f"redis://:{value}@x.test/0",
    "key as user": lambda value: f"https://{value}@sentry.test/1",
    "curl": lambda value: f"curl -u me:{value} https://x.test",
    "Slack": lambda value: f"https://hooks.slack.com/services/T0/B0/{value}",
    "Discord": lambda value: f"https://discord.com/api/webhooks/1/{value} answered 404",
}


def _cookie(value: str) -> str:
    cookie: SimpleCookie = SimpleCookie()
    cookie["sid"] = value
    return cookie.output()


KEY_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
PASSWORD_ALPHABET = KEY_ALPHABET + "@/&;,!#$%^*()_-+=[]{}|~:.?<>"


def a_key(random_: random.Random) -> str:
    """A key as services make them: letters and digits, some with hyphens."""
    body = "".join(random_.choices(KEY_ALPHABET, k=random_.randint(16, 40)))
    return f"k7{body[:8]}-{body[8:]}3Q" if random_.random() < 0.3 else f"k7{body}3Q"


def a_password(random_: random.Random, alphabet: str = PASSWORD_ALPHABET) -> str:
    """A password as managers make them; it begins and ends with a letter or digit."""
    return f"p4{''.join(random_.choices(alphabet, k=random_.randint(10, 24)))}9Z"


def forms_of(secret: str) -> set[str]:
    """What may not be found: the secret, all of it but its end, and what common encoders make of it."""
    return {
        secret,
        secret[:-3],
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        json.dumps(secret)[1:-1],
        html.escape(secret),
    }


def texts_with(secret: str, *, is_key: bool) -> Iterator[tuple[str, str]]:
    """Every shape with ``secret`` in it, by its name; those of a grammar of their own for keys only."""
    for name in NAMES:
        for shape, write in QUOTED.items():
            if is_key or shape not in WRITTEN_RAW:
                yield f"{shape}: {name}", write(name, secret)
    if is_key:
        for name in LIKELY_NAMES:
            for shape in ("JSON", "dictionary", "query", "keyword", "element"):
                yield f"{shape}: {name}", QUOTED[shape](name, secret)
        for shapes in (HEADERS, ADDRESSES):
            for shape, put in shapes.items():
                yield shape, put(secret)


def structures_with(name: str, secret: str) -> Iterator[tuple[str, Any]]:
    yield "mapping", {name: secret}
    yield "bytes", {name.encode(): secret.encode()}
    yield "pairs", [(name, secret), ("page", 1)]
    yield "nested", {"a": [{"b": {name: [secret]}}]}
    yield "named", {"name": name, "value": secret}
    yield "text within", {"body": json.dumps({name: secret})}
    yield "key", {f"{name}={secret}": 1}


HARMLESS = tuple(
    line
    for line in r"""
primary key=game_id
250-AUTH PLAIN LOGIN CRAM-MD5
entities lakers@2025-01-03..2025-01-05: 3 dates, http://127.0.0.1:8080/a@b
partition key=2021-03-04 is missing
token count=17
session_id=0022400123
the source sets no cookie: the session ends after each call
cookie: the browser sends none, and the answer is the same
partition_key=2025-01-03 is written twice
the word gapless stays: gapless run bdl_box_scores 2025-01-03 2025-01-07 --reason correction
gapless release-lease bdl_box_scores --run bf-0f3a5c1e7b1d --reason WHY
gapless retry bf-0f3a5c1e7b1d
2021-03-04: 1,000 rows where 1,200 were announced
GET /v1/box_scores?date=2021-03-04&per_page=100 answered 503
the token bucket is empty, authentication is not to blame
basic checks failed for 3 keys
the secret bdl_api_key is not set; no call was made
check the secret bdl_api_key and what its account may read
secret bdl_api_key is not in the environment, and Secret block gapless-bdl-api-key could not be read: ConnectError
export GAPLESS_SOURCE_SECRETS='{"bdl_api_key": "..."}'
no key: setting bdl_api_key is empty
key 2024-01-01 of partition 2024-01
duplicate key value violates unique constraint "games_pkey"
Key (game_id)=(22400123) already exists.
foreign key=team_id references teams
sort key: game_date
cluster key=season, row key=player_id
cache key=box_scores/2025-01-03
object key=landing/source=bdl_box_scores/partition=2025-01-03/attempt=01/page-0001.json.gz
the bearer of this news is the watchdog
bearer authentication is required by the source
basic authentication is not supported here
Authorization: none was sent
authorization: the key may not read this date
authentication failed for user me
author=Jane Doe, authority=none
authors: 12, authorized: yes
monkey=7 donkey=8 turkey=9
keyboard: none, keyword: backfill
keywords=nba, box, score
passed=12 failed=3 skipped=1
pass=12 fail=3
passenger: 3 of 4
password: missing
password: not set
the password is wrong
no password was given for smtp user gapless
signature of the function changed: rows(page) -> list
session ended after 12 s
session closed: idle for 300 s
sid is short for series id
tokens=17, tokens left: 42
max_tokens=4096 prompt_tokens=12
next_page_token=CAUQAA was followed
secrets are masked in logs, errors, mails, artifacts and stored objects
a secret is never shown
credentials: none found
credentials not found: run gcloud auth application-default login
ADC: no credentials; export GOOGLE_APPLICATION_CREDENTIALS=...
export PREFECT_API_KEY=...
export GAPLESS_SMTP_PASSWORD=$SMTP_PASSWORD
api_key=${BDL_API_KEY}
api_key={key}
apiKey=*** was masked before
apiKey=<your key>
token=<redacted>
token: str | None = None
def log_in(user: str, password: str) -> None:
password: SecretStr = Field(SecretStr(""))
api_key=settings.secret("bdl_api_key")
self.token = self._token
PROJECT_ID=gapless-local
GET https://api.balldontlie.io/v1/box_scores?date=2025-01-03&per_page=100 answered 503 after 3 tries
https://ui.prefect.test/runs/flow-run/0f3a5c1e-7b1d-4f6e-9a55-0123456789ab
http://127.0.0.1:4200/runs/flow-run/0f3a5c1e-7b1d-4f6e-9a55-0123456789ab
http://host/gapless is the webhook's host
webhook 127.0.0.1 answered 500
webhook host 127.0.0.1:8080 not reached: ConnectionRefusedError
mail from gapless@localhost to you@example.org
smtp 127.0.0.1:2525 accepted for 1 of 1
you@example.org: 550 no such user
https://docs.example.org/a/b#c?mail=you@example.org
https://x.test/path?email=you@example.org&page=2
https://medium.test/@writer/post-12
http://127.0.0.1:8080/@me/repo
gs://gapless-raw/landing/source=bdl_box_scores/partition=2025-01-03/attempt=0a1b2c/page-0001.json.gz
gs://gapless-raw/ledger/source=bdl_box_scores/2025-01-03.json
receipt 0a1b2c3d4e5f60718293a4b5c6d7e8f9 of job gapless_load_0a1b2c3d4e5f
sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 as announced
etag "33a64df551425fcc55e4d42a148795d9f25f89d4"
commit 8ea88d1 of branch main
version 0.1.0+8ea88d1f00
run 0f3a5c1e-7b1d-4f6e-9a55-0123456789ab is Crashed
flow run 'bdl_box_scores 2025-01-01..2025-01-31' is Completed
Finished in state Completed()
Finished in state Failed('3 of 31 dates failed')
Task run 'scrape-0a1' - Retrying, attempt 2 of 6 after 4.0 s
Encountered an exception during execution:
Traceback (most recent call last):
  File "scrapers/client.py", line 112, in fetch
ValueError: time data '2025-13-01' does not match format '%Y-%m-%d'
KeyError: 'game_id'
KeyError: 'key'
KeyError: 'token'
AttributeError: 'NoneType' object has no attribute 'secret'
TypeError: log_in() missing 1 required positional argument: 'password'
JSONDecodeError: Expecting value: line 1 column 1 (char 0)
pydantic_core.ValidationError: 2 validation errors for Row
Row.points: input should be a valid integer, unable to parse string as an integer
UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte
ConnectionRefusedError: [Errno 111] Connection refused
ssl.SSLCertVerificationError: certificate verify failed: self-signed certificate
google.api_core.exceptions.NotFound: 404 GET https://storage.googleapis.com/storage/v1/b/gapless-raw
google.api_core.exceptions.Forbidden: 403 Access Denied: Table p:d.t: User does not have permission
BigQuery error in load operation: Provided Schema does not match Table p:d.t
rateLimitExceeded: Exceeded rate limits: too many table update operations for this table
quotaExceeded: 1,500 table modifications per table and day
bdl_box_scores 2025-01-03 [scrape]: the source answered 503, expected 200 (status=503, endpoint=/v1/box_scores)
bdl_box_scores 2025-01-03 [load]: 3 of 182 rows were rejected. Next: gapless errors bf-0f3a5c1e7b1d
civic_band ann.ca~agendas [scrape]: the source answered 404, expected 200
2025-01-10 verified nba_bdl_games=7 nba_bdl_box_scores=182 in 1.2 s, receipt 0a1b2c3d4e5f
✓ 2025-01-10 verified nba_bdl_games=7 nba_bdl_box_scores=182
✗ 2025-01-11 failed_retryable error_type=SourceUnavailable stage=scrape
1,826 of 1,826 dates done, 0 failed, about 12 minutes
C1 SourceUnavailable: 12 dates 2025-01-03..2025-01-14
verdict COMPLETE, exit code 0
first seen 2025-01-03 04:05:06 UTC (Fri 23:05 New York)
retry in 4.0 s, then 8.0 s, then 16.0 s
rate 60 per minute, 4 at once, reset at 00:00 America/New_York
budget: 5,000 calls per day, 70 % for backfills
lease of bdl_box_scores is held by bf-0f3a5c1e7b1d since 12:00 UTC
generation 1736899200123456 did not match 1736899200123455
if_generation_match=0
partition 2025-01-03 has 14 games and 364 lines
player_id=237 team_id=14 game_id=22400123
season=2024 week=12 day=3
LeBron James: 31 pts, 8 reb, 9 ast (Lakers 118, Celtics 112)
Denver's Jokić: triple-double
Ünïcödé stays as it is – and so does “this”
日本語のテキストもそのまま
emoji 🏀 and → arrows
a\b\c and C:\Users\new\table
100 % of 31; 3 & 4; a < b > c
&nbsp; and &amp; are entities
%Y-%m-%d %H:%M:%S
SELECT COUNT(*) AS n FROM `gapless.nba_bdl_games` WHERE game_date = '2025-01-03'
SELECT key, value FROM settings WHERE key = 'season'
columns: key, value, token_count
["key", "value", "count"]
{"key": "season", "value": "2024"}
{"name": "game_id", "type": "INTEGER", "mode": "REQUIRED"}
{"kind": "500", "dates": ["2025-01-11"]}
{"total_count": 14, "next_cursor": 25, "per_page": 100}
[('date', '2025-01-03'), ('per_page', '100')]
Headers({'content-type': 'application/json', 'x-ratelimit-remaining': '59'})
content-type: text/html; charset=utf-8
x-ratelimit-remaining: 59
retry-after: 30
<html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>
<key>season</key><value>2024</value>
<!doctype html>
def rows(self, page: Page) -> Iterator[Row]:
for key, entry in ledger.items():
entries = {key: run.ledger.get(key) for key in run.partitions}
key=lambda item: item[0]
sorted(rows, key=len)
key = partition.key
max(rows, key=attrgetter("game_date"))
token = next(tokens)
raise AuthenticationError(f"the secret {auth.secret} is not set; no call was made")
headers[auth.header] = auth.prefix + secret
python -m flows.settings_reference > docs/configuration.md
prefect worker start --pool gapless --type process
gcloud storage ls gs://gapless-raw/alerts
bq show --format=prettyjson gapless.nba_bdl_games
kubectl get pods -n gapless
docker compose up -d
pip install -c constraints.txt -e '.[dev]'
curl -s http://127.0.0.1:8080/v1/box_scores?date=2025-01-03
curl -u is followed by user and password
Mon-Fri 18:00-23:00 America/Los_Angeles
2025-01-03T04:05:06.123456+00:00
12:30 at the gym
ratio 3:2, scale 1:1000
see https://docs.prefect.io/v3/how-to-guides/deployments and section 3.2
the answer has 12 fields, expected 14: extra, missing
sent: X-Backfill-Id: bf-0f3a5c1e7b1d
Message-ID: <gapless.bf-0f3a5c1e7b1d.1.final@gapless.local>
In-Reply-To: <gapless.bf-0f3a5c1e7b1d.root@gapless.local>
Content-Transfer-Encoding: quoted-printable =3D =20
base64 and hex are encodings
SK is the code of Slovakia, AC of Ascension Island
a sentence of ordinary words which says nothing at all about anybody
the key to success: patience
the key question: which dates are missing
Turnkey: yes
hotkey=F5
shortcut key=ctrl+c
arrow key=left
answer key=B
lookup key=2024-05, range key=12
public key=abcd
dedup key=bdl_box_scores 2025-01-03
order key=asc
entity key=ann.ca
business key=season,week
the auth header is set by the client
auth: none
webhook: not reached
hook=on_failure
sig. digits: 3
signals=3, design=new, assign=yes, sign=+
significance: high
secretary: Jane
tokenizer=fast, tokenization=none
credit=5, credits=12, accredited: no
sessions=3
cookies=0
cookies: 3
csrf check passed
jwt library not installed
crumbs: 3
apprise is not installed
passive=true, passage=2, compass: north, bypass=no
crypt=none, script=a.py
assign key columns: game_id, player_id
side=left, inside=1, president=1
""".splitlines()
    if line
)
