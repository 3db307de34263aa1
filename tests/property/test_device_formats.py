"""CEF and LEEF: what a device writes by the documents comes back exactly; marks within other text are only text."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.event import EPOCH, FrameContext, to_micros
from soc.normalise.devicefields import device_time, java_time
from soc.normalise.parsers import cef, leef
from soc.normalise.records import Parsers

READ_AT = 1_709_251_200_000_000
CONTEXT = FrameContext("fw", "s", 0, 1, READ_AT, READ_AT)
PARSERS = Parsers()
KEYS = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,12}(\[[0-9]\])?", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
HEADERS = ["", "Feb 28 16:10:11 fw ", "<134>Feb 28 16:10:11 10.0.0.1 ", "<134>1 2024-02-28T09:10:11Z fw app 12 id [a@1 b=\"c d\"] ",
           "<13>1 2024-02-28T09:10:11Z fw - - - - ", "Feb 28 16:10:11 fw CEF[7]: ", "2024-02-28T09:10:11Z fw ", "<13>"]


def in_header(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def in_extension(text: str) -> str:
    return text.replace("\\", "\\\\").replace("=", "\\=").replace("\n", "\\n").replace("\r", "\\r")


@given(header=st.sampled_from(HEADERS), fields=st.tuples(*[TEXT] * 5), said=st.lists(st.tuples(KEYS, TEXT), max_size=8, unique_by=lambda x: x[0]))
@settings(max_examples=400, deadline=None)
def test_cef_comes_back_as_it_was_meant(header: str, fields: tuple[str, ...], said: list[tuple[str, str]]) -> None:
    line = header + "CEF:0|" + "|".join(map(in_header, fields)) + "|5|" + " ".join(f"{key}={in_extension(value)}" for key, value in said)
    event = cef.parse(line.encode(), CONTEXT)
    names = ("device.vendor", "device.product", "device.version", "device.event_class_id", "name")
    assert tuple(event[f"cef.{name}"] for name in names) == fields
    whole = dict(said)
    if said and line.rstrip("\r\n\0") == line:
        assert {name.removeprefix("cef.extensions."): value for name, value in event.items() if name.startswith("cef.extensions.")} == whole


@given(header=st.sampled_from(HEADERS), delimiter=st.sampled_from(["^", "|", ";", "\t", "\x01", "~"]), hexadecimal=st.booleans(),
       said=st.lists(st.tuples(KEYS.filter(lambda key: "[" not in key), TEXT), min_size=1, max_size=8, unique_by=lambda x: x[0]))
@settings(max_examples=400, deadline=None)
def test_leef_comes_back_as_it_was_meant(header: str, delimiter: str, hexadecimal: bool, said: list[tuple[str, str]]) -> None:
    said = [(key, value.replace(delimiter, " ").strip("\r\n\t ")) for key, value in said]
    mark = f"0x{ord(delimiter):02X}" if hexadecimal or delimiter in "|\t\x01" else delimiter
    pairs = delimiter.join(f"{key}={value}" for key, value in said)
    event = leef.parse(f"{header}LEEF:2.0|Vendor|Product|1.0|42|{mark}|{pairs}".encode(), CONTEXT)
    assert (event["leef.vendor"], event["leef.product"], event["leef.event_id"]) == ("Vendor", "Product", "42")
    found = {name.removeprefix("leef.attributes."): value for name, value in event.items() if name.startswith("leef.attributes.")}
    if len(said) > 1 or delimiter != "\t":  # a lone attribute between tabs may as well be one of several between blanks
        assert found == dict(said)


@given(moment=st.datetimes(datetime(1990, 1, 1), datetime(2024, 2, 29)), zone=st.sampled_from(["UTC", "GMT", "ICT", "+07:00", "-0330", "GMT+07:00"]))
@settings(max_examples=300, deadline=None)
def test_times_of_every_documented_form_are_read_alike(moment: datetime, zone: str) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    hours = {"UTC": 0.0, "GMT": 0.0, "ICT": 7.0, "+07:00": 7.0, "-0330": -3.5, "GMT+07:00": 7.0}[zone]
    meant = to_micros(moment.replace(tzinfo=UTC)) - int(hours * 3_600_000_000)
    millis = f"{moment.microsecond // 1000:03d}"
    text = f"{moment:%b %d %Y %H:%M:%S}.{millis} {zone}"
    assert device_time(text, CONTEXT) == (meant, "")
    assert java_time(text, "MMM dd yyyy HH:mm:ss.SSS z", CONTEXT) == (meant, "")
    seen = EPOCH + timedelta(microseconds=meant)
    assert device_time(f"{seen:%Y-%m-%dT%H:%M:%S}.{seen.microsecond // 1000:03d}Z", CONTEXT) == (meant, "")
    if meant > 10**14 + 10**12:
        assert device_time(str(meant // 1000), CONTEXT) == (meant, "")


@pytest.mark.parametrize("text", [
    '10.0.0.9 - - [28/Feb/2024:16:10:11 +0700] "GET /?CEF:0|a|b|c|d|e|5|src=1.1.1.1 HTTP/1.1" 200 1 "-" "-"',
    '10.0.0.9 - CEF:0|a|b|c|d|e|5|x [28/Feb/2024:16:10:11 +0700] "GET / HTTP/1.1" 200 1 "-" "-"',
    "Feb 28 16:10:11 web sshd[1]: Invalid user CEF:0|a|b|c|d|e|5| from 1.2.3.4 port 5",
    "Feb 28 16:10:11 web sshd[1]: Invalid user LEEF:1.0|a|b|c|d| from 1.2.3.4 port 5",
    '<13>Feb 28 16:10:11 web nginx: 10.0.0.9 - - [28/Feb/2024:16:10:11 +0700] "GET /?LEEF:2.0|a|b|c|d|^|x=1 HTTP/1.1" 200 1 "-" "-"',
    '{"message":"CEF:0|a|b|c|d|e|5|src=1.1.1.1"}',
    "Feb 28 16:10:11 web app: CEF:0|only|three",
])
def test_a_mark_within_other_text_changes_no_dataset(text: str) -> None:
    [parsed] = PARSERS.parse_frame(CONTEXT, [text.encode()]).events
    assert parsed.event["event.dataset"] not in ("cef", "leef")


def test_a_long_hostile_extension_is_read_in_linear_time() -> None:
    for body in ("a=" * 300_000, " =" * 300_000, "\\" * 600_000, "a=\\=" * 150_000, "|" * 600_000, " a" * 300_000):
        for head in ("CEF:0|v|p|1|id|name|5|", "LEEF:2.0|v|p|1|id|^|", "LEEF:1.0|v|p|1|id|"):
            began = datetime.now(UTC)
            PARSERS.parse_frame(CONTEXT, [(head + body).encode()])
            assert datetime.now(UTC) - began < timedelta(seconds=3)
