"""Recognises the page of a bot defence, on any status and in any language: by header and machinery, not by its words.

Cloudflare says so itself (https://developers.cloudflare.com/cloudflare-challenges/challenge-types/challenge-pages/detect-response/);
titles are localised, so the words of a page count only where a refusal is expected anyway.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

from scrapers.excerpts import is_blank

SEARCHED_BYTES = 65_536

_HEADERS = {
    "cf-mitigated": re.compile(r".+", re.DOTALL),
    "x-amzn-waf-action": re.compile(r"(?i)\s*(?:challenge|captcha)\b.*", re.DOTALL),
    "x-vercel-mitigated": re.compile(r"(?i)\s*(?:challenge|deny)\b.*", re.DOTALL),
}
# With every answer of a site behind DataDome or Imperva, so that they count where it has nothing else to say.
_OF_A_GUARD = {"x-datadome", "x-dd-b", "x-iinfo"}
_CDNS = ("imperva", "incapsula")
# Of the defence itself: what it lets through bears the name of the site's own server.
_GUARDS = re.compile(r"(?i)\s*(?:datadome|akamaighost|imperva|incapsula)\b.*", re.DOTALL)
# Pages that were let through may hold these scripts too, so they count in errors only.
_MACHINERY = re.compile(
    rb"(?i)_cf_chl|cf[-_]chl|/cdn-cgi/challenge-platform|challenges\.cloudflare\.com|jschl|captcha-delivery\.com"
    rb"|px-captcha|_pxappid|/captcha/captcha\.js|_incapsula_resource|awswafintegration|gokuprops|sgcaptcha"
    rb"|ddos-guard|/\.within\.website/|anubis_challenge|geetest|window\.kpsdk|sec-cp-challenge|/_sec/cp_challenge"
    rb"|arkoselabs|captcha[-_](?:required|sitekey)|sucuri_cloudproxy|window\.rbzns|sbtsckcookie|/_fs-ch-|errors\.aliyun\.com"
    rb"|imunify360|px-c(?:dn|loud)\.net|\"appid\"\s*:\s*\"px"
)
_ONLY_IN_CHALLENGES = re.compile(rb"_cf_chl_opt|/\.within\.website/x/cmd/anubis|anubis_challenge")
# Of a small document that has nothing else to say.
_ONLY_IN_JSON_CHALLENGES = re.compile(
    rb"(?i)\.captcha-delivery\.com|/captcha/captcha\.js|\"(?:rgv587_flag|sec-cp-challenge)\"|captcha[-_]required"
    rb"|imunify360 bot|px-c(?:dn|loud)\.net|\"appid\"\s*:\s*\"px[a-z0-9]{6,12}\""
)
_SMALL_BYTES = 2_048
# All but 1015, which is a limit.
# https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-1xxx-errors/
_BANNED = re.compile(
    rb"(?i)\s*error code:? 1(?!015)0\d\d\s*|\s*\{(?=.*\"cloudflare_error\"\s*:\s*true)(?!.*\b1015\b).*", re.DOTALL
)
_ELSEWHERE = re.compile(r"(?i).{0,200}(?:captcha|/sorry/index|\.perfdrive\.com|\.queue-it\.net|/cdn-cgi/)", re.DOTALL)
_WORDS = re.compile(
    rb"(?i)just a moment|checking your browser|captcha|anubis|access denied|are you a robot|not a bot"
    rb"|security checkpoint|pardon our interruption|unusual traffic|verify(?:ing)? (?:that )?you are (?:a )?human"
    rb"|enable javascript and cookies|attention required!|sucuri website firewall|wordfence"
    rb"|requested url was rejected"
)
# Of Cloudflare's page of a limit, whose title is that of its bans.
_OF_A_LIMIT = re.compile(rb"(?i)being rate limited|error[^<>]{0,20}\b1015\b")
_TOO_MANY = 429
_TITLE = re.compile(rb"(?i)<title[^>]{0,100}>([^<]{1,200})")
# Cloudflare's title of such a page where it is not English; the words of its text say nothing.
_TITLES = re.compile(
    r"\s*(?:(?:nur )?(?:einen|ein) moment|un instant|un momento|un attimo|(?:só )?um momento|een moment|één moment"
    r"|ett ögonblick|et øjeblik|et øyeblikk|hetkinen|cierpliwości|chwileczkę|moment,? prosím|okamžik|egy pillanat"
    r"|bir dakika|lütfen bekleyin|один момент|одну минуту|зачекайте|секунду|لحظة|רק רגע|しばらくお待ちください"
    r"|请稍候|請稍候|稍等|잠시만|tunggu sebentar|chờ một chút|รอสักครู่)"
)
# Whatever its language, it asks to wait; a page of a server's fault says what has happened.
_WAITS = re.compile(r"\s*[^\d.…]{2,40}(?:…|\.\.\.)\s*")
_REFUSALS = (401, 403, 405, 429, 503)


def is_challenge(
    status: int, headers: Mapping[str, str], body: bytes, *, is_accepted: bool = False, is_json: bool
) -> bool:
    """Whether a bot defence answered in place of the source.

    Args:
        status: Of the answer.
        headers: By lower-case name.
        body: The first 64 KiB are looked at.
        is_accepted: The status is that of a complete answer: a page that was let through may hold such scripts too.
        is_json: The body is JSON: its words are data, and only the machinery of a defence counts.
    """
    if any(name in headers and pattern.fullmatch(headers[name]) for name, pattern in _HEADERS.items()):
        return True
    if 300 <= status < 400 and _ELSEWHERE.match(headers.get("location", "")):
        return True
    looked_at = body[:SEARCHED_BYTES]
    if is_accepted and is_json:
        return len(body) <= _SMALL_BYTES and _ONLY_IN_JSON_CHALLENGES.search(body) is not None
    if is_accepted:
        return _ONLY_IN_CHALLENGES.search(looked_at) is not None
    if status == 403 and (_BANNED.fullmatch(body[:_SMALL_BYTES]) or _is_bare_refusal(headers, body)):
        return True
    if status == _TOO_MANY and _OF_A_LIMIT.search(looked_at):
        return False
    if _MACHINERY.search(looked_at):
        return True
    # A success that is not the complete answer is where a refusal is expected too: 202 is a favourite of defences.
    if is_json or 300 <= status < 400:
        return False
    is_refusal = status < 300 or status in _REFUSALS
    return asks_to_wait_in_title(looked_at) or (is_refusal and _WORDS.search(looked_at) is not None)


def asks_to_wait_in_title(body: bytes) -> bool:
    """Whether the title of a web page is that of a challenge, in whatever language.

    >>> [asks_to_wait_in_title(f"<title>{one}</title>".encode()) for one in ("Μια στιγμή…", "&#x427;ек...", "502 ...")]
    [True, True, False]
    """
    title = _TITLE.search(body)
    text = html.unescape(title[1].decode("utf-8", "replace")).lower() if title else ""
    return _TITLES.match(text) is not None or _WAITS.fullmatch(text) is not None


def _is_bare_refusal(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a 403 without a word is that of a bot defence: an API says what is wrong with a key, and a limit when to
    come back."""
    if not is_blank(body) or "retry-after" in headers:
        return False
    is_guarded = bool(headers.keys() & _OF_A_GUARD) or headers.get("x-cdn", "").strip().lower() in _CDNS
    return is_guarded or _GUARDS.fullmatch(headers.get("server", "")) is not None
