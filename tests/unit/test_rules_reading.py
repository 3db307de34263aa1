"""What is taken as a rule and what is refused, each with its line and a reason (F47, F48, F49)."""
from __future__ import annotations

import time

import pytest

from soc.detect.rules import compile_text, read_rules

RULE = """title: A rule
id: 7f1f5a3e-3c59-4a37-9a53-1f6f3f0c8a11
status: test
level: high
logsource:
    product: windows
    category: process_creation
detection:
    selection:
        Image|endswith: '\\\\cmd.exe'
    condition: selection
"""


def only_fault(text: str | bytes):
    found, faults, _ = read_rules("area/rule.yml", text.encode() if isinstance(text, str) else text)
    assert not found
    assert len(faults) == 1, faults
    assert faults[0].path == "area/rule.yml"
    return faults[0]


def test_a_rule_is_read_with_all_that_lists_show():
    found, faults, skipped = read_rules("area/rule.yml", RULE.encode())
    assert not faults
    assert not skipped
    rule = found[0]
    assert (rule.rule_id, rule.title, rule.level, rule.status) == ("7f1f5a3e-3c59-4a37-9a53-1f6f3f0c8a11", "A rule", "high", "test")
    assert (rule.logsource.product, rule.logsource.category, rule.logsource.service) == ("windows", "process_creation", "")
    assert rule.source == RULE


def test_the_version_changes_with_the_text_only():
    versions = {read_rules(path, text.encode())[0][0].version for path, text in (("a.yml", RULE), ("b.yml", RULE), ("a.yml", RULE + "\n"))}
    assert len(versions) == 2


def test_a_rule_without_id_gets_a_lasting_one():
    text = RULE.replace("id: 7f1f5a3e-3c59-4a37-9a53-1f6f3f0c8a11\n", "")
    ids = {read_rules(path, text.encode())[0][0].rule_id for path in ("a.yml", "a.yml", "b.yml")}
    assert len(ids) == 2


def test_rules_of_one_file_are_taken_one_by_one():
    other = RULE.replace("7f1f5a3e", "8f1f5a3e").replace("condition: selection", "condition: other")
    found, faults, _ = read_rules("two.yml", f"{RULE}---\n{other}".encode())
    assert len(found) == 1
    assert faults[0].line == 23
    assert "'other'" in faults[0].message


def test_a_rule_may_name_the_entity_of_its_alerts():
    assert compile_text(RULE + "soc_entity: user.name\n").entity == "user.name"


@pytest.mark.parametrize("text", ["a: 1\n", "- x\n", "just text\n", "", "# nothing\n"])
def test_other_yaml_is_skipped_and_not_refused(text):
    found, faults, skipped = read_rules("x.yml", text.encode())
    assert not found
    assert not faults
    assert len(skipped) == 1


def test_placeholders_are_accepted_and_left_off():
    found, faults, _ = read_rules("x.yml", RULE.replace("Image|endswith: '\\\\cmd.exe'", "Image|expand: '%tools%'").encode())
    assert not faults
    assert found[0].rule is None
    assert found[0].off == "placeholder %tools%"


@pytest.mark.parametrize("text, line, words", [
    ("title: x\ntitle: y\n", 2, "twice"),
    ("title: !!python/object/apply:os.system [x]\n", 1, "tag"),
    ("title: !!binary x\n", 1, "tag"),
    ("title: x\na: [1, 2\n", 3, "not YAML"),
    ("title: x\na: *b\n", 2, "anchor"),
    ("title: x\n? [a, b]\n: c\n", 2, "key"),
    ("title: \t\x00\n", 0, "not YAML"),
    (b"title: \xff\xfe\n", 1, "UTF-8"),
    ("[" * 2000 + "]" * 2000, 1, "nested deeper"),
    ("a: " + "{b: " * 500 + "1" + "}" * 500, 1, "nested deeper"),
    ("x" * (1024 * 1024 + 1), 0, "bytes"),
])
def test_yaml_that_is_not_plain_is_refused_with_its_line(text, line, words):
    fault = only_fault(text)
    assert words in fault.message
    assert fault.line == line


def test_an_alias_bomb_is_counted_not_unfolded():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    began = time.process_time()
    assert "values" in only_fault("\n".join(lines)).message
    assert time.process_time() - began < 1


def test_a_bomb_of_merge_keys_is_refused():
    lines = ["a0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 20)]
    assert "values" in only_fault("\n".join(lines)).message


def test_merge_keys_work():
    text = RULE.replace("        Image|endswith", "        <<: &base {User: an}\n        Image|endswith")
    assert len(compile_text(text).unpacked().atoms) == 2


def condition(text: str, selections: str = "    a: {f: 1}\n") -> str:
    return f"title: x\nlogsource: {{category: x}}\ndetection:\n{selections}    condition: {text}\n"


def test_a_thousand_selections_are_fine():
    selections = "".join(f"    s{n}: {{f: {n}}}\n" for n in range(1000))
    assert len(compile_text(condition("1 of them", selections)).unpacked().atoms) == 1000


def test_a_list_of_ten_thousand_is_fine():
    values = ", ".join(f"value{n}" for n in range(10_000))
    assert len(compile_text(condition("a", f"    a: {{f|contains: [{values}]}}\n")).unpacked().atoms) == 10_000


def test_a_rule_of_too_many_tests_is_refused():
    values = ", ".join(f"' -value{n}'" for n in range(9_000))
    fault = only_fault(condition("a", f"    a: {{f|windash|contains: [{values}]}}\n"))
    assert "20000 tests" in fault.message
    assert fault.line == 4


def test_conditions_that_multiply_are_bounded():
    values = ", ".join(f"v{n}" for n in range(5_000))
    fault = only_fault(condition(" or ".join(["a"] * 1000), f"    a: {{f: [{values}]}}\n"))
    assert "written out" in fault.message


@pytest.mark.parametrize("text", ["(" * 5000 + "a" + ")" * 5000, "not " * 30_000 + "a", "not (" * 3000 + "a" + ")" * 3000])
def test_recursive_conditions_are_refused_at_once(text):
    began = time.process_time()
    fault = only_fault(condition(text))
    assert "condition" in fault.message
    assert fault.line == 5
    assert time.process_time() - began < 1


@pytest.mark.parametrize("text, words, line", [
    (RULE.replace("level: high", "level: huge"), "level", 4),
    (RULE.replace("    product: windows\n    category: process_creation\n", "    definition: x\n"), "logsource", 5),
    (RULE.replace("Image|endswith", "Image|ends"), "modifier", 10),
    (RULE.replace("7f1f5a3e-", "x"), "UUID", 2),
    (RULE.replace("condition: selection", "condition: [selection, 3]"), "condition", 11),
    (RULE.replace("    condition: selection\n", ""), "condition is missing", 8),
    (RULE + "soc_entity: [a]\n", "soc_entity", 12),
    (RULE + "action: global\n", "obsolete", 12),
    ("title: x\nlogsource: {product: y}\ndetection: 5\n", "detection", 3),
    ("title: x\nlogsource: 5\ndetection: {a: {f: 1}, condition: a}\n", "logsource", 2),
])
def test_faults_name_their_line(text, words, line):
    fault = only_fault(text)
    assert words.lower() in fault.message.lower()
    assert fault.line == line


@pytest.mark.parametrize("pattern", ["(a+)+$", ".*x.*", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_regular_expressions_are_linear(pattern):
    from soc.detect.engine import Engine
    from soc.store.columns import batch_of

    rule = compile_text(condition("a", f"    a: {{f|re: '{pattern}'}}\n"))
    began = time.process_time()
    Engine([rule], ignore_logsource=True).match(batch_of([{"f": "a" * 200_000 + "!"}, {"f": "ax" * 100_000}]))
    assert time.process_time() - began < 2
