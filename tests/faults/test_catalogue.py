"""The catalogue names tests that exist, and the recorder fills its rows."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.faults import record

TESTS = Path(__file__).parents[1]
ROWS = [line for line in record.README.read_text().splitlines() if record.is_row(line)]


def test_every_row_names_tests_that_exist():
    assert len(ROWS) > 30
    for row in ROWS:
        assert record.tested(row), row
        for file, function in record.tested(row):
            tree = ast.parse((TESTS / file).read_text())
            names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert not function or function in names, f'{file}::{function}'


def test_nothing_recorded_was_lost():
    lost = [row for row in ROWS if row.split('|')[-4].strip() not in ('0', '-')]
    assert not lost


REPORT = """<testsuites><testsuite>
<testcase classname="tests.data.test_a" name="test_x[1]" time="2.0"/>
<testcase classname="tests.data.test_a" name="test_x[2]" time="1.0"><failure/></testcase>
<testcase classname="tests.data.test_a" name="test_y" time="30.0">
  <properties><property name="tries" value="20"/></properties></testcase>
<testcase classname="tests.data.test_a" name="test_z" time="9.0"><skipped/></testcase>
</testsuite></testsuites>"""


def test_a_row_is_filled_in(tmp_path):
    (tmp_path / 'report.xml').write_text(REPORT)
    cases = record.read_cases([str(tmp_path / 'report.xml')])
    row = '| 1 | fault | happens | - | - | - | - | `data/test_a.py::{}` |'
    assert '| 2 | 1 | 1 | 2.0 |' in record.record(row.format('test_x'), cases)
    assert '| 20 | 20 | 0 | 1.5 |' in record.record(row.format('test_y'), cases)
    assert record.record(row.format('test_z'), cases) == row.format('test_z')
    whole = record.record(row.format('').replace('::', ''), cases)
    assert '| 22 | 21 | 1 | 2.0 |' in whole
