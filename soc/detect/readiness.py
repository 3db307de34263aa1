"""Whether a rule can fire here at all: does any parser produce events of the log source it asks for?"""
from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

from soc.detect.compiled import LogSource
from soc.detect.yamltext import read_documents

__all__ = ["producible", "why_not"]

_WEB: Final = ("apache/webserver/apache", "nginx/webserver/nginx")


@cache
def producible() -> tuple[str, ...]:
    """Every set of log sources that some parser gives an event, space-separated triples each."""
    tables: Any = read_documents(files("soc.normalise").joinpath("logsources.yml").read_bytes())[0].value
    found = set(_WEB)
    windows = tables["windows"]
    for service in windows["services"]:
        found.add(f"windows//{service}")
        for categories in windows["categories"].get(service, {}).values():
            found.add(" ".join((f"windows//{service}", *(f"windows/{category}/" for category in categories))))
    found |= {" ".join(triples) for triples in windows["others"].values()}
    for services in tables["linux"]["programs"].values():
        found.add(" ".join(("linux//syslog", *(service if "/" in service else f"linux//{service}" for service in services))))
    for categories in tables["linux"]["audit"].values():
        found.add(" ".join(("linux//auditd", *(f"linux/{category}/" for category in categories))))
    for services in tables["cisco"]["facilities"].values():
        found.add(" ".join(("cisco//syslog", *(f"cisco//{service}" for service in services))))
    found |= {" ".join(triples) for triples in tables["datasets"].values()}
    return tuple(sorted(found))


@cache
def why_not(logsource: LogSource) -> str:
    """Why no event here can be of this log source, "" if one can."""
    if any(logsource.matches(triples) for triples in producible()):
        return ""
    name = "/".join(part for part in (logsource.product, logsource.category, logsource.service) if part)
    known = not logsource.product or any(LogSource(logsource.product).matches(triples) for triples in producible())
    return f"no source here sends {name if known else logsource.product} events"
