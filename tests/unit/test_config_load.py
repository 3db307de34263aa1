"""Configuration: defaults, files, environment, and every fault at once."""
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from soc.config import Config, render, settings
from soc.content import content
from soc.errors import ConfigError
from soc.secret import Secret
from soc.setting import duration, percent, size

BAD = sorted((Path(__file__).parent.parent / "golden" / "config" / "bad").glob("*.yaml"))


def test_config_yaml_is_the_commented_defaults() -> None:
    assert content("config.yaml").read_text() == render()


def test_config_yaml_loads_as_the_defaults() -> None:
    assert Config.load(content("config.yaml"), {}) == Config() == Config.load(None, {})


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_configuration_is_explained(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load(path, {})
    said = "\n".join(caught.value.faults).replace(str(path.parent) + "/", "") + "\n"
    assert said == path.with_suffix(".expected").read_text()


def test_several_faults_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("gateway:\n  port: x\n  host: '!'\nstore: 3\n")
    with pytest.raises(ConfigError) as caught:
        Config.load(path, {"SOC_CONSOLE__PROT": "1", "SOC_DISK__WARN": "2"})
    assert len(caught.value.faults) == 5


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("gateway:\n  port: 9000\n  deadline: 5s\n")
    config = Config.load(path, {"SOC_GATEWAY__PORT": "9001", "SOC_DATA": "/x", "HOME": "/"})
    assert (config.gateway.port, config.gateway.deadline) == (9001, 5.0)


def test_unknown_environment_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'SOC_GATEWAY__PORT'"):
        Config.load(None, {"SOC_GATEWAY__PROT": "9001"})


def test_retention_classes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("retention:\n  default: 52w\n  classes: {short: 30d, long: 3650d}\n")
    retention = Config.load(path, {}).retention
    assert retention.default == 364 * 86400
    assert retention.classes == {"short": 30 * 86400.0, "long": 3650 * 86400.0}


def test_empty_file_and_empty_section_are_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("# nothing\n")
    assert Config.load(path, {}) == Config()
    path.write_text("gateway:\nstore:\n")
    assert Config.load(path, {}) == Config()


def test_missing_oversized_and_binary_files_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.load(tmp_path / "none.yaml", {})
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (1 << 20) + b"##")
    with pytest.raises(ConfigError, match="over 1 MiB"):
        Config.load(huge, {})
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\x00\xff\xfe")
    with pytest.raises(ConfigError):
        Config.load(binary, {})


def test_database_passwords_are_never_shown(tmp_path: Path) -> None:
    config = Config.load(None, {"SOC_DATABASE__STATE": "postgresql://soc:hunter2@db/soc"})
    assert config.database.state == Secret("postgresql://soc:hunter2@db/soc")
    assert "hunter2" not in repr(config)


def test_every_setting_says_what_it_is_for() -> None:
    for section, key, found in settings():
        assert found.sentence.endswith("."), f"{section}.{key}"
        assert len(found.sentence) > 15, f"{section}.{key}"


@examples(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_no_text_breaks_the_readers(text: str) -> None:
    for read in (duration, size, percent):
        try:
            assert read(text) >= 0
        except ValueError:
            pass


@examples(max_examples=60, deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_break_the_loader(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("c") / "c.yaml"
    path.write_bytes(raw)
    try:
        Config.load(path, {})
    except ConfigError:
        pass


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("5m", 300), ("1.5h", 5400), ("365d", 31536000), ("200 ms", 0.2)])
def test_durations_carry_units(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(("text", "count"), [("64MiB", 1 << 26), ("2GB", 2_000_000_000), ("0.5KiB", 512), ("1 B", 1)])
def test_sizes_carry_units(text: str, count: int) -> None:
    assert size(text) == count
