"""What an answer refuses in words: too many calls, or a login that is none. Pure.

A limit comes with any status and in any language. What says no more than that something was exceeded counts where a
call was refused; with a server's error only what names the calls, as servers have limits of memory and time, too.
"""

from __future__ import annotations

import re

SEARCHED_CHARS = 2_000

_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
# Between the words of a phrase: rate limit, rate-limit, RATE_LIMIT, RateLimit.
_S = r"[\s_-]{0,3}"
_OF_CALLS = re.compile(
    rf"(?i)rate{_S}limit(?:ed|{_S}error|{_S}violation|.{{0,3}}exceeded)|:\s*['\"]rate{_S}limit['\"]"
    rf"|rate exceeded|too{_S}many{_S}(?:\w{{1,12}}{_S})?(?:requests|calls|attempts|queries)|too{_S}much{_S}request"
    rf"|request{_S}(?:count|rate|limit){_S}exceed|exceed(?:s|ed|ing)?.{{0,30}}rate{_S}limit|throughput.{{0,3}}exceeded|throttl|slow{_S}down"
    r"|requests? rate limit|out of (?:calls|requests)|reduce your request rate|spike.?arrest|abuse detection"
    r"|temporary lockout|error.?code\W{1,4}1015|developer over (?:qps|rate)"
    r"|zu viele (?:anfragen|aufrufe|zugriffe|versuche)|trop de (?:requ[êe]tes|demandes|appels|tentatives)"
    r"|demasiad[ao]s (?:solicitudes|peticiones|llamadas|consultas|intentos|requisições|solicitações)"
    r"|(?:muitas|excesso de) (?:requisições|solicitações|chamadas|tentativas)|limite de (?:requisi|solicita|peticion)"
    r"|tropp[ei] (?:richieste|chiamate|tentativi)|te veel (?:verzoeken|aanvragen|pogingen)"
    r"|för många (?:förfrågningar|anrop|försök)|for mange (?:foresp[øo]rsler|anmodninger|kald|forsøk)"
    r"|liian mont[ae] pyyn|liikaa pyyn|zbyt (?:wiele|dużo) (?:żądań|zapytań|prób)|příliš mnoho (?:požadavků|dotazů)"
    r"|túl sok kérés|prea multe (?:cereri|solicitări)|çok fazla (?:istek|talep|deneme)|πάρα πολλά αιτήματα"
    r"|слишком (?:много|часто)|забагато (?:запит|спроб)|طلبات كثيرة|יותר מדי בקשות|बहुत अधिक अनुरोध"
    r"|quá nhiều (?:yêu cầu|lần)|terlalu banyak permintaan|คำขอมากเกินไป"
    r"|(?:过于|太|過於)(?:频繁|頻繁)|(?:请求|請求|访问|訪問)(?:次数)?(?:过多|過多|太多|超)|限流|リクエスト.{0,10}(?:多すぎ|超)"
    r"|너무 많은 요청|요청.{0,10}(?:너무 많|초과)"
)
_OF_ANY_LIMIT = re.compile(
    r"(?i)(?:limit|quota).{0,30}(?:exceeded|reached|hit\b)"
    r"|(?:exceed(?:ed|ing)|reach(?:ed)?|hit|over).{0,45}(?:limit|quota)|resource_exhausted"
    r"|out of (?:call volume )?quota|(?:requests?|calls?) per (?:second|minute|hour|day)"
    r"|(?:try again|retry) later|try again in [0-9]"
    r"|(?:limit|kontingent).{0,30}(?:überschritten|erreicht|erschöpft|ausgeschöpft)"
    r"|(?:limite|quota).{0,30}(?:dépass|attein)|limiet.{0,30}(?:overschreden|bereikt)"
    r"|(?:l[ií]mite|c[ou]ota|quota).{0,40}(?:excedid|superad|superat|alcan[zç]ad|atingid|ultrapassad|raggiunt)"
    r"|limit.{0,30}(?:przekroczon|wyczerpan|aşıldı|doldu)"
    r"|(?:лимит|квота).{0,30}(?:превыш|исчерп)|превышен.{0,30}(?:лимит|квот)"
    r"|超(?:出|过|過).{0,10}(?:限制|配额|配額|上限)|达到.{0,8}上限|(?:制限|上限).{0,10}(?:超|達し)|한도.{0,10}초과"
)
_OF_A_LOGIN = re.compile(
    rf"(?i)invalid{_S}(?:api{_S})?(?:key|token|credentials?)\b|missing{_S}(?:api{_S})?(?:key|token)"
    rf"|(?:api{_S}key|token|session) (?:is |has )?(?:missing|required|invalid|expired)|not logged in"
    rf"|invalid{_S}auth\b|not_authed|token_(?:revoked|expired)|account_inactive"
    rf"|\b(?:un|not{_S})(?:authori[sz]ed|authenticated)|(?:authentication|login){_S}(?:required|failed)"
)


def tells_limit(body: bytes, *, is_call_refused: bool = True) -> bool:
    """Whether the beginning of an answer says that there were too many calls.

    Args:
        body: Its text, JSON escapes or not.
        is_call_refused: Its status blames the call, so that any limit counts; else only one of calls.

    >>> tells_limit(b'{"__type":"TooManyRequestsException"}'), tells_limit('{"m":"请求过于频繁"}'.encode())
    (True, True)
    >>> [tells_limit(b"memory limit exceeded", is_call_refused=one) for one in (True, False)]
    [True, False]
    """
    text = _text(body)
    return _OF_CALLS.search(text) is not None or (is_call_refused and _OF_ANY_LIMIT.search(text) is not None)


def tells_bad_login(body: bytes) -> bool:
    """Whether it says that the key or the login is not good.

    >>> tells_bad_login(b'{"error":"invalid_token"}'), tells_bad_login(b'{"error":"invalid date"}')
    (True, False)
    """
    return _OF_A_LOGIN.search(_text(body)) is not None


def _text(body: bytes) -> str:
    text = body[: 4 * SEARCHED_CHARS].decode("utf-8", "replace")[:SEARCHED_CHARS]
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
