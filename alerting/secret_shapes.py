"""The one registry of texts that are a secret by their shape, whatever stands before them. Pure.

Why not the plugins of detect-secrets 1.5.0: importing them costs each process 0.24 s, and without word boundaries they
find keys inside of hashes. They are the oracle instead: a test makes tokens from every plugin's patterns, and each must
be masked here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from alerting.unescaping import Span


@dataclass(frozen=True, slots=True)
class Shape:
    """One known shape. ``pattern`` is searched where one of ``anchors`` stands (without any: always).

    Its group 1, if it has one, is the secret.

    A pattern takes time in proportion to the text: what repeats is possessive or short, and begins at an edge.
    """

    name: str
    anchors: tuple[str, ...]
    pattern: re.Pattern[str]


# What may stand before a token. A hyphen may not: in `-eyJ-eyJ-eyJ...` each repetition would be searched to the end.
_EDGE = r"(?<![A-Za-z0-9_-])"


def _shape(name: str, anchors: str, pattern: str) -> Shape:
    return Shape(name, tuple(anchors.split("\n") if "\n" in anchors else anchors.split()), re.compile(pattern))


def _tokens(name: str, anchors: str, rest: str = r"[A-Za-z0-9_-]{16,}+") -> Shape:
    """Tokens that begin with one of ``anchors``."""
    starts = "|".join(re.escape(anchor) for anchor in anchors.split())
    return _shape(name, anchors, rf"{_EDGE}(?:{starts}){rest}")


SHAPES: tuple[Shape, ...] = (
    _shape(
        "private key",
        "PRIVATE\nPuTTY-User",
        r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?-----[\s\S]*?"
        r"(?:-----END [A-Z0-9 ]{0,40}KEY(?: BLOCK)?-----|\Z)"
        r"|PuTTY-User-Key-File-\d[\s\S]*\Z"
        r"|(?<!-----)BEGIN (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?(?!-----)[\s\S]*\Z",
    ),
    _shape("JSON web token", "eyJ", rf"{_EDGE}eyJ[\w=-]{{6,}}+\.[\w=-]{{1,}}+(?:\.[\w=/+-]*+)*+"),
    _shape("AWS key", "AKIA ASIA ABIA ACCA A3T", r"(?<![A-Za-z0-9])(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}"),
    _shape("Amazon MWS", "amzn.mws.", r"amzn\.mws\.[0-9a-f-]{36}"),
    _tokens("GitHub", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_"),
    _tokens("GitLab", "glpat- gldt- glft- glsoat- glrt- glcbt- glptt- glimt- glagent- gloas- GR1348941"),
    _tokens("Slack", "xoxb- xoxp- xoxa- xoxo- xoxs- xoxr- xoxe- xoxe. xapp-", r"[A-Za-z0-9.-]{8,}+"),
    _tokens("Stripe", "sk_live_ sk_test_ rk_live_ rk_test_ pk_live_ whsec_", r"[A-Za-z0-9]{10,}+"),
    _tokens("OpenAI, Anthropic", "sk-"),
    _tokens("Google API key", "AIza", r"[\w-]{30,}+"),
    _tokens("Google OAuth", "ya29. GOCSPX- 1//0", r"[\w-]{8,}+"),
    _tokens("SendGrid", "SG.", r"[\w-]{16,}+\.[\w-]{16,}+"),
    _shape("Mailchimp", "-us", r"(?<![A-Za-z0-9])[0-9a-z]{32}-us\d{1,2}(?![A-Za-z0-9])"),
    _tokens("Mailgun", "key-", r"[0-9a-f]{32}(?![0-9a-f])"),
    _tokens("Twilio", "SK AC", r"[0-9a-z]{32}(?![A-Za-z0-9])"),
    _tokens("npm", "npm_"),
    _shape("npm registry", "_authToken", r"_authToken=\s{0,4}([^\s\"']+)"),
    _tokens("PyPI", "pypi-AgE"),
    _tokens("Docker", "dckr_pat_ dckr_oat_"),
    _tokens("Hugging Face, Replicate, Groq, Perplexity", "hf_ r8_ gsk_ pplx-"),
    _tokens("Databricks", "dapi", r"[0-9a-f]{32}(?:-\d)?"),
    _tokens("DigitalOcean", "dop_v1_ doo_v1_ dor_v1_"),
    _tokens("Shopify", "shpat_ shpca_ shppa_ shpss_"),
    _shape("Square", "sq0 EAAA", rf"{_EDGE}(?:sq0[a-z]{{3}}-[\w\\-]{{22,}}+|EAAA[\w-]{{56,}}+)"),
    _shape("Telegram", "", r"\d{8,10}:[\w-]{35}(?![\w-])"),
    _shape("Discord", "", r"[MNO][A-Za-z\d_-]{23,25}\.[A-Za-z\d_-]{6}\.[A-Za-z\d_-]{27,38}(?![\w-])"),
    _tokens("Linear, Notion, Figma, Grafana", "lin_api_ ntn_ secret_ figd_ glsa_ glc_"),
    _tokens("Atlassian, Heroku, New Relic, Postman", "ATATT3 HRKU- NRAK- PMAK-"),
    _shape("Airtable", "pat", rf"{_EDGE}pat[A-Za-z0-9]{{14}}\.[0-9a-f]{{64}}"),
    _tokens("Vault", "hvs. hvb. hvr."),
    _tokens("Doppler, PlanetScale, Netlify, Supabase", "dp.pt. pscale_tkn_ pscale_pw_ pscale_oauth_ nfp_ sbp_"),
    _tokens("Prefect", "pnu_ pnb_"),
    _tokens("Sentry, RubyGems, Tailscale", "sntrys_ sntryu_ rubygems_ tskey-"),
    _tokens("age", "AGE-SECRET-KEY-"),
    _tokens("Facebook", "EAACEdEose0cBA", r"[0-9A-Za-z]{8,}+"),
    _tokens("Dropbox", "sl."),
    _tokens("Twitter bearer", "AAAAAAAAAAAAAAAAAAAAA", r"[A-Za-z0-9%]{24,}+"),
    _tokens("Artifactory", "AKC", r"[A-Za-z0-9]{10,}+"),
    _shape(
        "Artifactory password",
        "AP",
        r"(?<![A-Za-z0-9])AP[\dABCDEF](?=[A-Z]{0,24}[a-z\d])[A-Za-z0-9]{8,}+(?![A-Za-z0-9_.-])",
    ),
    _shape("IBM, SoftLayer", "softlayer.com/soap", r"softlayer\.com/soap/v3(?:\.1)?/([a-z0-9]{64})"),
    _shape("Azure storage", "AccountKey", r"AccountKey=([A-Za-z0-9+/=]{40,}+)"),
    _shape(
        "webhook",
        "hook hc-ping chat.googleapis ifttt pagerduty",
        r"(?i:hooks\.slack\.com/(?:services|workflows|triggers)|discord(?:app)?\.com/api/webhooks|webhook\.office\.com"
        r"|outlook\.office(?:365)?\.com/webhook|hooks\.zapier\.com/hooks/catch|hc-ping\.com|maker\.ifttt\.com/trigger"
        r"|events\.pagerduty\.com/integration|mattermost\.[\w.-]{1,80}/hooks|hooks\.[\w.-]{1,80}/hooks)/([^\s\"'<>]+)",
    ),
    _shape("Telegram bot", "/bot", r"api\.telegram\.org/bot([^\s/\"'<>]+)"),
    _shape(
        "curl",
        "-u\n--user\n--proxy-user",
        r"(?<!\S)(?:-u|--user|--proxy-user|-U)[ =]{1,4}[\"']?[^\s:\"']{1,80}:([^\s\"']+)",
    ),
    # Echoed by a mail server that does not know the command; user and password in one text.
    _shape(
        "login of SMTP",
        "AUTH auth Auth",
        r"\b(?i:AUTH (?:PLAIN|LOGIN|CRAM-MD5|XOAUTH2|OAUTHBEARER|NTLM)) ([A-Za-z0-9+/=]{8,}+)",
    ),
    _shape("address without a scheme", "//", r"(?<!:)//[^\s/?#@:\"'<>]{0,80}:([^\s/?#@\"'<>]{1,200})@"),
    # As a proxy is often written.
    _shape(
        "host and port",
        "@",
        r"(?<![\w.:/@%-])[\w.%+-]{1,80}:([^\s/?#@:\"'<>]{3,200})@[A-Za-z0-9.-]{1,200}:\d{2,5}(?![\w.])",
    ),
    _shape("function of Azure", "code=", r"[?&]code=([^\s&#\"'<>]{20,})"),
    _shape("netrc", "login", r"\blogin\s{1,4}\S{1,80}\s{1,4}password\s{1,4}(\S+)"),
)


def shape_spans(text: str) -> list[Span]:
    """Where ``text`` holds one of `SHAPES`, or a user and password in an address."""
    spans = _userinfo_spans(text) if "@" in text and "://" in text else []
    shapes = dict.fromkeys(shape for anchor in _ANCHOR.findall(text) for shape in _BY_ANCHOR[anchor])
    for shape in (*_WITHOUT_ANCHOR, *shapes):
        group = 1 if shape.pattern.groups else 0
        spans += [match.span(group) for match in shape.pattern.finditer(text)]
    return spans


def _any_of(anchors: list[str]) -> str:
    """A pattern that looks at each character once, where a plain alternation tries 80 words at every place.

    >>> _any_of(["ghp_", "gho_", "gh"])
    'gh(?:o_|p_|)'
    """
    if len(anchors) == 1:
        return re.escape(anchors[0])
    first, last = min(anchors), max(anchors)
    length = next((at for at, char in enumerate(first) if last[at : at + 1] != char), len(first))
    shared = first[:length]
    rest = [anchor[len(shared) :] for anchor in anchors]
    by_first = {char: [one for one in rest if one[:1] == char] for char in sorted({one[:1] for one in rest} - {""})}
    branches = [_any_of(group) for group in by_first.values()] + ([""] if "" in rest else [])
    return re.escape(shared) + (f"(?:{'|'.join(branches)})" if len(branches) > 1 else branches[0])


_BY_ANCHOR: dict[str, list[Shape]] = {}
for _each in SHAPES:
    for _anchor in _each.anchors:
        _BY_ANCHOR.setdefault(_anchor, []).append(_each)
_WITHOUT_ANCHOR = tuple(shape for shape in SHAPES if not shape.anchors)
_ANCHOR = re.compile(_any_of(list(_BY_ANCHOR)))

_END_OF_URL = re.compile(r"[\s\"'<>`]")


def _userinfo_spans(text: str) -> list[Span]:
    """What stands before the ``@`` of an address: the last one where the password holds some, or slashes."""
    spans: list[Span] = []
    at, end, last = text.find("://"), 0, -1
    while at >= 0:
        start = at + 3
        if start >= end:
            found = _END_OF_URL.search(text, start)
            end = found.start() if found else len(text)
            last = text.rfind("@", start, end)
        if last < start:
            at = text.find("://", end)
            continue
        edge = _END_OF_AUTHORITY.search(text, start, end)
        authority_end = edge.start() if edge else end
        first = text.find("@", start, authority_end)
        stop = -1
        if first >= 0:
            # More than one @ in a row of the password, not one in a path or query of the address.
            stop = text.rfind("@", start, authority_end)
            tail = _PASSWORD_TAIL.match(text, stop + 1, end)
            stop = tail.end() - 1 if tail else stop
        elif _USER_AND_PASSWORD.match(text, start, last):
            stop = last
        if stop > start:
            spans.append((start, stop))
        at = text.find("://", max(start, stop))
    return spans


_END_OF_AUTHORITY = re.compile(r"[/?#]")
# `me:p@w/x@host`: an @ follows a slash, and what is before the slash is no host.
_PASSWORD_TAIL = re.compile(r"(?:[^@/.:?#]{0,60}[/?#][^@]{0,200}@)")
# `me:pa/ss@host`, and not `host:8080/path@x`.
_USER_AND_PASSWORD = re.compile(r"[^/:@?#\[]{0,200}:(?!\d{0,5}[/?#])[^@]{0,400}")
