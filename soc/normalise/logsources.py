"""Which Sigma log sources an event belongs to, read once from `logsources.yml`.

Parsers ask for the set as one sorted, space-separated string of `product/category/service` triples.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

__all__ = ["LogSources", "log_sources"]

_REMEMBERED = 50_000
"""Distinct (channel, event id) pairs whose answer is kept: a bound against hostile records."""


class LogSources:
    """The tables of `logsources.yml`, each question answered from memory the second time."""

    def __init__(self, tables: Mapping[str, Any]) -> None:
        windows = tables["windows"]
        self._services: dict[str, list[str]] = {}
        for service, channels in windows["services"].items():
            for channel in channels:
                self._services.setdefault(channel.lower(), []).append(service)
        self._others = {channel.lower(): triples for channel, triples in windows["others"].items()}
        self._channels = {provider.lower(): channel for provider, channel in windows["providers"].items()}
        self._categories: dict[tuple[str, str], list[str]] = {
            (service, str(number)): categories
            for service, numbers in windows["categories"].items()
            for number, categories in numbers.items()
        }
        self._programs: dict[str, list[str]] = tables["linux"]["programs"]
        self._audit: dict[str, list[str]] = tables["linux"]["audit"]
        self._facilities: dict[str, list[str]] = tables["cisco"]["facilities"]
        self._datasets: dict[str, list[str]] = tables["datasets"]
        self._devices = [(name.split("/", 1), triples) for name, triples in tables["devices"].items()]
        self._device_answers: dict[tuple[str, str], tuple[str, ...]] = {}
        self._windows_answers: dict[tuple[str, str, str], str] = {}
        self._program_answers: dict[str, str] = {}

    def windows(self, channel: str, event_id: str, provider: str = "") -> str:
        """The log sources of a Windows event; `provider` counts only where the channel is missing."""
        key = (channel, event_id, provider)
        answer = self._windows_answers.get(key)
        if answer is None:
            answer = self._windows(channel, event_id, provider)
            if len(self._windows_answers) < _REMEMBERED:
                self._windows_answers[key] = answer
        return answer

    def _windows(self, channel: str, event_id: str, provider: str) -> str:
        log = channel or self._channels.get(provider.lower(), "")
        triples: set[str] = set()
        for service in self._services.get(log.lower(), ()):
            triples.add(f"windows//{service}")
            triples.update(f"windows/{category}/" for category in self._categories.get((service, event_id), ()))
        triples.update(self._others.get(log.lower(), ()))
        return join(triples or {"windows//"})

    def linux(self, program: str) -> str:
        """The log sources of a syslog line of `program`."""
        answer = self._program_answers.get(program)
        if answer is None:
            services = {"syslog", *self._programs.get(program.lower(), ())}
            answer = join(service if "/" in service else f"linux//{service}" for service in services)
            if len(self._program_answers) < _REMEMBERED:
                self._program_answers[program] = answer
        return answer

    def audit(self, types: Iterable[str]) -> str:
        """The log sources of an audit event made of records of these types."""
        triples = {"linux//auditd"}
        for kind in types:
            triples.update(f"linux/{category}/" for category in self._audit.get(kind, ()))
        return join(triples)

    def cisco(self, facility: str) -> str:
        """The log sources of a Cisco message of `facility` (``BGP_SESSION`` counts as ``BGP``)."""
        name = facility
        while name and name not in self._facilities:
            name = name[: max(name.rfind("_"), name.rfind("-"), 0)]
        services = {"syslog", *self._facilities.get(name, ())}
        return join(f"cisco//{service}" for service in services)

    def dataset(self, dataset: str) -> str:
        """The log sources of a record that names its own ECS dataset; "" if Sigma has none for it."""
        return join(self._datasets.get(dataset, ()))

    def device(self, vendor: str, product: str) -> tuple[str, ...]:
        """The log sources of a device by what it calls itself (CEF, LEEF); none if it is not in the table."""
        key = (vendor, product)
        answer = self._device_answers.get(key)
        if answer is None:
            maker, model = vendor.strip().lower(), product.strip().lower()
            answer = tuple(triple for (makers, models), triples in self._devices
                           if maker.startswith(makers) and models in model for triple in triples)
            if len(self._device_answers) < _REMEMBERED:
                self._device_answers[key] = answer
        return answer


def join(triples: Iterable[str]) -> str:
    """Triples as events carry them: sorted, one space between."""
    return " ".join(sorted(set(triples)))


@cache
def log_sources() -> LogSources:
    """The product's own tables (read at first use, then shared: they never change while running)."""
    text = files("soc.normalise").joinpath("logsources.yml").read_text("utf-8")
    return LogSources(yaml.load(text, Loader=yaml.CSafeLoader))
