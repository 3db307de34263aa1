"""Templates into pages. Everything is escaped; controls and direction marks of events are shown, never acted on."""
from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context

from soc.access.agencies import Agency
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import whoever
from soc.console.language import LANGUAGES, load_messages, translator
from soc.console.pages.matched import marked
from soc.console.pages.summary import summary
from soc.console.parts import Parts
from soc.console.problems import Told
from soc.console.rulewords import RuleWords
from soc.console.strip import strip_of
from soc.console.wording import Wording, load_wording
from soc.ecs import kind_of
from soc.event import Scope, from_micros, to_micros

__all__ = ["LANGUAGE_COOKIE", "Pages", "inert", "local_path", "see"]

LANGUAGE_COOKIE = "soc_language"

_VIETNAMESE = str.maketrans(",.", ".,")
_KNOWN_BY = re.compile(r"^u_[0-9a-f]{16} ")
_MENU = (
    ("/", "menu.overview", Permission.ALERTS_READ), ("/alerts", "menu.alerts", Permission.ALERTS_READ),
    ("/events", "menu.events", Permission.EVENTS_READ), ("/rules", "menu.rules", Permission.RULES_READ),
    ("/sources", "menu.sources", Permission.SOURCES_READ), ("/imports", "menu.imports", Permission.IMPORTS_READ),
    ("/deadletters", "menu.deadletters", Permission.DEADLETTERS_READ), ("/health", "menu.health", Permission.HEALTH_READ),
    ("/api", "menu.api", Permission.ACCOUNT_OWN),
)


class Pages:
    """Renders the templates of this folder for one caller at a time."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._say = {language: translator(messages) for language, messages in load_messages().items()}
        self._wording = {language: Wording(load_wording(language), say) for language, say in self._say.items()}
        self._zone = ZoneInfo(parts.timezone)
        self._words = RuleWords(parts.rules)
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True)
        self._environment.filters |= {
            "show": inert, "when": self.when, "clock": self.clock, "moment": self.moment, "url": _url, "field": self.field, "marked": marked,
            "number": _number, "day": self.day, "summary": summary,
            "person": _person}

    def page(
        self, request: Request, template: str, who: Principal | None = None, *, status: int = 200, **values: object,
    ) -> Response:
        """One page in the caller's language."""
        language = self.language(request)
        t = self._say[language]
        menu = [(path, t(key)) for path, key, permission in _MENU if who is not None and who.may(permission)]
        text = self._environment.get_template(template).render(
            t=t, titled=partial(self._titled, language), words=self._words.of,
            said=partial(self.said, language), agency=partial(self._agency, language, {}), language=language, languages=LANGUAGES,
            centre=self._parts.called(), who=who, strip=strip_of(self._parts, who) if who is not None else None, menu=menu, path=request.url.path,
            **{"csrf": getattr(request.state, "csrf", ""), "back": _asked(request)} | values)
        return HTMLResponse(text.encode("utf-8", "replace"), status)

    async def error(self, request: Request, told: Told) -> Response:
        """What went wrong, as a page; who is not logged in is led to the login."""
        if told.status == 401 and request.method == "GET":
            asked = _asked(request)
            return see("/login", next=asked if asked != "/" else "")
        return self.page(request, "error.html", await whoever(request), status=told.status, told=told)

    def said(self, language: str, text: str) -> str:
        """An English text of ours in this language; one that the catalogue lacks stays, framed by words that say so."""
        if language == "en" or not text:
            return text
        return self._wording[language](text) or self._say[language]("error.original", text=text)

    def _agency(self, language: str, known: dict[str, Agency], agency: str) -> str:
        """An agency's name; of one that is not known its id. `known` is filled once for a page."""
        if not known:
            known |= {one.id: one for one in self._parts.agencies.list(Scope.everything(), at=self._parts.now(), closed=True)}
        found = known.get(agency)
        return (found.name_vi if language == "vi" else found.name_en) if found else agency

    def _titled(self, language: str, rule_id: str, title: str) -> str:
        """A rule's title in this language, if it has one."""
        return self._words.title(rule_id, title, language)

    def language(self, request: Request) -> str:
        """The language that the caller chose, else the centre's."""
        chosen = request.cookies.get(LANGUAGE_COOKIE, "")
        return chosen if chosen in LANGUAGES else self._parts.speaks()

    def when(self, micros: object) -> str:
        """Microseconds UTC as a time of the centre's zone, to the second; what is no time as it is."""
        if not isinstance(micros, int):
            return str(micros)
        try:
            return from_micros(micros).astimezone(self._zone).strftime("%Y-%m-%d %H:%M:%S %Z")
        except (OverflowError, ValueError):
            return str(micros)

    def clock(self, micros: int) -> str:
        """As `when`, without the day if it is today, without the zone."""
        day, _, rest = self.when(micros).partition(" ")
        return rest.partition(" ")[0] if self.when(self._parts.now()).startswith(day) else f"{day} {rest.partition(' ')[0]}"

    def day(self, micros: int) -> str:
        """The day of a time in the centre's zone: 27/11."""
        return from_micros(micros).astimezone(self._zone).strftime("%d/%m")

    def moment(self, iso: str) -> str:
        """A time in ISO 8601 as `when` says it."""
        return self.when(to_micros(datetime.fromisoformat(iso)))

    def field(self, value: object, name: str) -> str:
        """The value of an event's field `name`, dates as times."""
        return self.when(value) if kind_of(name) == "date" else inert(value)


def inert(value: object) -> str:
    """Text in which controls, direction marks and lone surrogates are written out; tabs and line ends stay."""
    text = (", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)).replace("\r\n", "\n")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c in "\t\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else f"\\u{ord(c):04x}" for c in text)


def see(path: str, **values: str) -> RedirectResponse:
    """Go and see that page (HTTP 303)."""
    query = urlencode({name: value for name, value in values.items() if value})
    return RedirectResponse(f"{path}?{query}" if query else path, 303)


def local_path(text: str) -> str:
    """`text` if it is a path of this console, else "/"."""
    ours = text.startswith("/") and not text.startswith(("//", "/\\"))
    return text if ours and text.isascii() and text.isprintable() and len(text) <= 2000 else "/"


def _asked(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _person(actor: str) -> str:
    """Whom the audit names, without the id that it is kept by."""
    return inert(_KNOWN_BY.sub("", actor))


@pass_context
def _number(context: Context, value: float, digits: int = 0) -> str:
    """A number as the page's language writes it: 102,003.5 in English, 102.003,5 in Vietnamese."""
    text = f"{value:,.{digits}f}"
    return text.translate(_VIETNAMESE) if context["language"] == "vi" else text


def _url(text: object) -> str:
    return quote(str(text).encode("utf-8", "replace"), safe="")
