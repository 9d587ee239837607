"""The only client of the upstreams: what it asks keeps to the budget, and every answer is a page or an error."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Self

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    BudgetExhausted,
    PipelineError,
    RateLimited,
    SiteClosed,
    SourceContractError,
)
from alerting.redaction import redact
from scrapers.addressing import (
    address_of,
    basic_token,
    credentials_of,
    mask_cookies,
    refuse_stray_path,
    renewed_session,
    secret_texts,
    session_header,
    without_secrets,
)
from scrapers.answers import Answer, is_data_type, is_page, kept_headers, mislabelled, problem_in, told_wait_s
from scrapers.auth import SecretBasic, SecretHeader, SecretParam, SessionCookie, TokenAuth
from scrapers.base import ABSENT, Page, Request, Scraper, SourceAccess
from scrapers.charsets import in_utf8
from scrapers.pace.budget import Budget
from scrapers.service_account import ServiceAccount, TokenKeeper, token_problem
from scrapers.transport import Call, HttpTransport, Transport

_log = logging.getLogger("gapless.scrapers")
_LONGEST_GUESSED_PAUSE_S = 60.0
_MOST_DRIFT = 20
_CONNECTIONS = 32
_ELSEWHERE = (301, 302, 303, 307, 308)
# Locked, as a shop is that owes its platform money; refused by law.
_SHUT = (423, 451)
_TOKEN_TIMEOUT_S = 30.0


@dataclass(slots=True)
class _Domain:
    """What a wish to wait, or a refusal, concerns: the account, or one site.

    Attributes:
        budget: Asked before every call.
        is_account: Whether that budget is of an account, day and month included, and no part of the source's own.
        guessed_pause_s: The last pause after an answer that only said "slow down"; ``guess_ends_s`` by the monotonic
            clock.
        refused: Why no call is made any more, None while calls are made.
    """

    budget: Budget
    is_account: bool = False
    guessed_pause_s: float = 0.0
    guess_ends_s: float = 0.0
    refused: PipelineError | None = None


class SourceClient:
    """Fetches pages of one source. One per source and process, shared by its threads.

    Args:
        scraper: The source's facts.
        access: Where and with what: base URL, secrets, timeout (for a whole answer, body included).
        budget: Asked before every call. A 429 pauses it for all threads and gives the call back.
        accounts: Budgets of the accounts of other hosts (`Scraper.hosts`), asked in place of ``budget`` before calls to
            these. Without one such a host has a budget of this client's own.
        patience_s: Longest wait for the budget inside ``fetch``; a longer one is ``RateLimited`` at once, so that
            the caller's retry, and not a sleeping thread, holds the partition.
        transport: Makes what calls are sent by from the connections to the source; the connections when left out.
    """

    def __init__(
        self,
        scraper: Scraper | type[Scraper],
        access: SourceAccess,
        budget: Budget,
        *,
        accounts: Mapping[str, Budget] = MappingProxyType({}),
        patience_s: float = 900.0,
        transport: Callable[[Transport], Transport] | None = None,
    ) -> None:
        self._scraper = scraper() if isinstance(scraper, type) else scraper
        self._access = access
        self._budget = budget
        self._patience_s = patience_s
        self._base_url = (access.base_url or scraper.base_url).rstrip("/")
        self._lock = threading.Lock()
        self._calls = 0
        self._units = 0
        self._drift: list[str] = []
        self._account = _Domain(budget, is_account=True)
        self._accounts = accounts
        self._sites: dict[str, _Domain] = {}
        self._tokens: TokenKeeper | None = None
        self._transport: Transport = HttpTransport(
            self._base_url,
            {"Accept": scraper.accept, **scraper.headers},
            access.timeout_s,
            pool_size=_CONNECTIONS,
            notice=self._tell_drift,
            take_cookies=self._take_cookies,
        )
        if transport is not None:
            self._transport = transport(self._transport)

    @property
    def calls(self) -> int:
        """Requests sent so far, answered or not."""
        with self._lock:
            return self._calls

    @property
    def units(self) -> int:
        """What they cost, in the units that the source counts."""
        with self._lock:
            return self._units

    @property
    def received_bytes(self) -> int:
        """Bytes of bodies as they came over the wire, still packed."""
        return self._transport.received_bytes

    @property
    def drift(self) -> tuple[str, ...]:
        """Labels of this source's answers that are not true of their content, each once; the content was read."""
        with self._lock:
            return tuple(self._drift)

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        """One call. Waits for the budget first; never retries and never follows a redirect.

        With a `TokenAuth`, a 401 is asked once more with a new token: tokens end early when a key is changed.

        Raises ``AuthenticationError`` without a call when the key is missing; ``RateLimited``, ``BudgetExhausted``;
        ``SourceUnavailable`` for time-outs, broken connections, empty or cut-off bodies, 202 and 5xx; ``Truncated``
        beyond ``max_body_bytes`` and for a part of the answer; otherwise what :func:`scrapers.answers.problem_in`
        says. No message, log or chained exception of it holds the key.
        """
        try:
            token = self._token()
            try:
                page = self._fetched(request, page_number, token)
            except AuthenticationError as error:
                if not token or error.facts.get("status") != 401:
                    raise
                page = self._fetched(request, page_number, self._token(refused=token))
        except PipelineError as error:
            error.facts.setdefault("endpoint", redact(request.path))
            if request.site in self._scraper.hosts:
                error.facts.setdefault("site", request.site)
            raise error.located(source=self._scraper.source, stage="scrape", hint=self._hint(error)) from None
        with self._lock:
            self._domain_of(request.site).guessed_pause_s = 0.0
        return page

    def _fetched(self, request: Request, page_number: int, token: str) -> Page:
        url, params, headers = self._prepared(request, token)
        with self._lock:
            domain = self._domain_of(request.site)
        self._refuse_known(request.site)
        units = self._scraper.cost(request)
        payer = domain.budget if domain.is_account else self._budget
        if domain is not self._account:
            self._budget.note_wait(domain.budget.acquire(self._patience_s, units if domain.is_account else 1))
            # Another thread may have met a refusal meanwhile.
            self._refuse_known(request.site)
        if not domain.is_account or domain is self._account:
            self._budget.acquire(self._patience_s, units)
        started_s = time.monotonic()
        accept = dict(request.headers).get("Accept", self._scraper.accept)
        with self._lock:
            self._calls += 1
        accepted, timeout_s = self._scraper.accepted_statuses, self._access.timeout_s
        sent = secret_texts(self._scraper.auth, self._credentials)
        content = request.json_body.encode() or None
        most = self._scraper.max_body_bytes
        call = Call(
            request.method,
            url,
            accept,
            accepted,
            timeout_s,
            most,
            params,
            headers,
            content=content,
            has_checksums=self._scraper.has_checksums,
        )
        answer = self._transport.exchange(call)
        took_s = round(time.monotonic() - started_s, 4)
        if self._scraper.quota_headers is not None:
            is_done = answer.status in accepted
            units = payer.believe(self._scraper.quota_headers, answer.headers, units, is_done=is_done)
        unreadable: PipelineError | None = None
        try:
            answer = in_utf8(answer, accept, self._scraper.charset) if answer.status in accepted else answer
        except SourceContractError as error:
            # A block, or an error in place of data, says more of the answer than its letters.
            unreadable = error
        problem = self._problem(request, answer, accept) or unreadable
        if isinstance(problem, RateLimited | BudgetExhausted):
            payer.refund(units)
            units = 0
        with self._lock:
            self._units += units
        if problem is not None:
            wish_s = told_wait_s(answer, is_limit=isinstance(problem, RateLimited))
            self._slow_down(problem, wish_s, request.site)
            raise problem
        if told := mislabelled(answer, accept):
            self._tell_drift(told)
        body = without_secrets(
            answer.body, filter(None, (*sent, *secret_texts(self._scraper.auth, self._credentials), token))
        )
        headers_kept = kept_headers(answer.headers)
        received_at, packed = answer.received_at, answer.packed
        return Page(request, page_number, answer.status, headers_kept, body, received_at, took_s, packed)

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepared(self, request: Request, token: str) -> tuple[str, tuple[tuple[str, str], ...], dict[str, str]]:
        refuse_stray_path(request.path)
        params, headers = request.params, dict(request.headers)
        auth, credentials = self._scraper.auth, self._credentials
        if isinstance(auth, SecretHeader) and credentials:
            headers[auth.header] = auth.prefix + credentials[auth.secret]
        elif isinstance(auth, SecretParam):
            params = (*params, (auth.param, credentials[auth.secret]))
        elif isinstance(auth, SecretBasic):
            headers["Authorization"] = f"Basic {basic_token(auth, credentials)}"
        elif isinstance(auth, SessionCookie) and credentials:
            headers["Cookie"] = session_header(auth, credentials[auth.secret])
        elif token:
            headers["Authorization"] = f"Bearer {token}"
        if request.json_body:
            headers["Content-Type"] = "application/json"
        return address_of(self._base_url, request.site) + request.path, params, headers

    @functools.cached_property
    def _credentials(self) -> dict[str, str]:
        return credentials_of(self._scraper.auth, self._access.secrets)

    def _token(self, refused: str = "") -> str:
        """The access token for the next call, "" where the source takes none; ``refused`` is good no longer."""
        auth = self._scraper.auth
        if not isinstance(auth, TokenAuth):
            return ""
        with self._lock:
            if self._tokens is None:
                account = ServiceAccount.from_key(self._credentials[auth.secret], auth.secret)
                self._tokens = TokenKeeper(account, auth.scope, self._exchange_for_token)
        return self._tokens.token(refused)

    def _exchange_for_token(self, url: str, form: Mapping[str, str]) -> Answer:
        """No call of the source's quota: the endpoint is another service. Pauses are those of the account."""
        timeout_s = min(_TOKEN_TIMEOUT_S, self._access.timeout_s)
        try:
            self._budget.wait_out_pause(self._patience_s)
            most = self._scraper.max_body_bytes
            call = Call("POST", url, "application/json", {200}, timeout_s, most, form=form)
            answer = self._transport.exchange(call)
            problem = token_problem(answer)
            if problem is not None:
                self._slow_down(problem, told_wait_s(answer, is_limit=isinstance(problem, RateLimited)), "")
                raise problem
        except PipelineError as error:
            error.message = f"no access token: {error.message}"
            error.facts.setdefault("endpoint", redact(url))
            # A 401 of the endpoint is not one of the source.
            error.facts["token_status"] = error.facts.pop("status", "")
            raise
        return answer

    def _take_cookies(self, set_cookie_headers: list[str]) -> None:
        """Masks them; a new value of the session's own is sent from here on, and given to whoever keeps it."""
        mask_cookies(set_cookie_headers)
        auth, credentials = self._scraper.auth, self._credentials
        if not isinstance(auth, SessionCookie) or not credentials or not set_cookie_headers:
            return
        with self._lock:
            text = renewed_session(auth, credentials[auth.secret], set_cookie_headers)
            if not text:
                return
            credentials[auth.secret] = text
        if self._access.renewed is not None:
            self._access.renewed(auth.secret, text)

    def _problem(self, request: Request, answer: Answer, accept: str) -> PipelineError | None:
        """The error that the answer is, by its body, else by its status; None for one that ``inspect`` reads."""
        told = self._scraper.problem(answer)
        if told is not None:
            return told
        if request.absent_ok and self._scraper.says_absent(answer):
            return None
        problem = problem_in(answer, self._scraper.statuses, accept, self._scraper.accepted_statuses)
        if self._scraper.domain == "site" and request.site:
            problem = _of_site(problem, answer, request.site)
        is_absent = (
            request.absent_ok and answer.status == ABSENT and not isinstance(problem, BlockedBySource | RateLimited)
        )
        # A page of HTML is the answer of another server.
        return None if is_absent and not (is_data_type(accept) and is_page(answer)) else problem

    def _tell_drift(self, told: str) -> None:
        with self._lock:
            if told in self._drift or len(self._drift) >= _MOST_DRIFT:
                return
            self._drift.append(told)
        _log.warning("%s: %s; it was read as what it is", self._scraper.source, told)

    def _slow_down(self, problem: PipelineError, wish_s: float | None, site: str) -> None:
        """Pauses the account, or the site: for as long as it asked, or for 1, 2, 4 ... 60 s when it only said 429."""
        with self._lock:
            domain = self._domain_of(site)
        if isinstance(problem, BudgetExhausted):
            (domain.budget if domain.is_account else self._budget).close_until_reset(problem)
        with self._lock:
            if isinstance(problem, BlockedBySource | SiteClosed) and site and "{site}" in self._base_url:
                self._sites.setdefault(site, _Domain(self._budget)).refused = problem
        if isinstance(problem, RateLimited) and wish_s is None:
            domain.budget.pause_for(self._guessed_pause(domain))
        if wish_s is not None:
            domain.budget.pause_for(wish_s)

    def refuse(self, site: str, why: str) -> None:
        """Lets no call to ``site`` be made: it is known to block us."""
        with self._lock:
            self._sites.setdefault(site, _Domain(self._budget)).refused = BlockedBySource(why)

    def _domain_of(self, site: str) -> _Domain:
        """Whose rate counts. Needs the lock."""
        account = self._scraper.account_of_host(site)
        if not site or (self._scraper.domain == "account" and account == self._scraper.account_name):
            return self._account
        if site not in self._sites:
            budget = self._accounts.get(account)
            self._sites[site] = _Domain(
                budget or self._budget.for_site(self._access.rate.of_site), is_account=budget is not None
            )
        return self._sites[site]

    def _refuse_known(self, site: str) -> None:
        """A site that refused one call is not asked again by this process: its other documents meet the same."""
        with self._lock:
            known = self._sites.get(site)
            refused = known.refused if known else None
        if refused is None:
            return
        if isinstance(refused, SiteClosed):
            raise SiteClosed(
                f"{refused.message}; an earlier call got this response, so this one was not made", hint=refused.hint
            )
        raise BlockedBySource(f"{redact(site)} blocked an earlier call ({refused.message}); no call was made")

    def _guessed_pause(self, domain: _Domain) -> float:
        now_s = time.monotonic()
        with self._lock:
            # Answers to calls that were already under way are the same "no", not another one.
            if now_s >= domain.guess_ends_s:
                domain.guessed_pause_s = min(max(1.0, 2 * domain.guessed_pause_s), _LONGEST_GUESSED_PAUSE_S)
                domain.guess_ends_s = now_s + domain.guessed_pause_s
            return domain.guessed_pause_s

    def _hint(self, error: PipelineError) -> str:
        if isinstance(error, AuthenticationError) and self._scraper.auth is not None:
            names = self._scraper.auth.secrets
            tier = f", which needs the tier {self._scraper.needs_tier} here" if self._scraper.needs_tier else ""
            return f"check the secret {' and '.join(names)} and what its account may read{tier}"
        if isinstance(error, SourceContractError) and self._scraper.step == "whole":
            return "look whether the source has an entity of that name; the others are still tried"
        if isinstance(error, SourceContractError):
            return "compare the source's documentation with this scraper; the other dates are still tried"
        return ""


def _of_site(problem: PipelineError | None, answer: Answer, site: str) -> PipelineError | None:
    """A refusal as that of a site alone: it needs a login, is not there, or sends us somewhere else."""
    is_elsewhere = answer.status in _ELSEWHERE
    is_gone = answer.status in (404, 410)
    is_shut = answer.status in _SHUT or isinstance(problem, AuthenticationError)
    if problem is None or not (is_elsewhere or is_gone or is_shut):
        return problem
    if is_elsewhere:
        place = redact(answer.headers.get("location", ""))[:120]
        why = f"sends us to {place}" if place else "sends us elsewhere"
    else:
        why = "is not there" if is_gone else "lets nobody in"
    return SiteClosed(
        f"{redact(site)} {why}: status {answer.status}",
        hint="open it in a browser; remove it from GAPLESS_SOURCE_ENTITIES if it is gone",
        **problem.facts,
    )
