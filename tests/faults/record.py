"""Writes what a run of the tests found into the catalogue of README.md.

    python tests/faults/record.py --tests             names the tests, for pytest
    python tests/faults/record.py faults.xml ...      files that pytest wrote with --junitxml

A row of the catalogue names tests; a test that was tried says how often by the property `tries`,
once unless it says so, and has passed or lost. Rows whose tests are not in the files stay as they
are.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

README = Path(__file__).with_name('README.md')
TEST = re.compile(r'`(?:tests/)?([\w/]+\.py)(?:::(\w+))?`')


class Found(NamedTuple):
    """What a test case found."""

    tries: int
    passed: bool
    seconds: float


def read_cases(files: list[str]) -> dict[tuple[str, str], list[Found]]:
    """{(file below tests/, function): its cases}; what was skipped was not tried."""
    cases: dict[tuple[str, str], list[Found]] = {}
    for file in files:
        for case in ET.parse(file).iter('testcase'):
            if case.find('skipped') is not None:
                continue
            name = case.get('classname', '').removeprefix('tests.').replace('.', '/') + '.py'
            properties = {p.get('name'): p.get('value') for p in case.iter('property')}
            passed = case.find('failure') is None and case.find('error') is None
            found = Found(int(properties.get('tries') or 1), passed, float(case.get('time', 0)))
            cases.setdefault((name, case.get('name', '').partition('[')[0]), []).append(found)
    return cases


def tested(row: str) -> list[tuple[str, str]]:
    """The (file, function) that a row names; function '' for a whole file."""
    return TEST.findall(row)


def record(row: str, cases: dict[tuple[str, str], list[Found]]) -> str:
    """The row with its columns tries, survived, lost and seconds filled in."""
    found = [
        case
        for file, function in tested(row)
        for (its_file, its_function), its_cases in cases.items()
        if its_file == file and function in ('', its_function)
        for case in its_cases
    ]
    if not found:
        return row
    tries = sum(case.tries for case in found)
    survived = sum(case.tries for case in found if case.passed)
    seconds = max(case.seconds / case.tries for case in found)
    cells = row.strip().strip('|').split('|')
    cells[-5:-1] = [f' {tries} ', f' {survived} ', f' {tries - survived} ', f' {seconds:.1f} ']
    return f'|{"|".join(cells)}|'


def is_row(line: str) -> bool:
    """Whether a line of README.md is a row of the catalogue."""
    return bool(re.match(r'\| \d', line))


def main(arguments: list[str]) -> None:
    """Name the tests, or rewrite README.md with what the files say."""
    lines = README.read_text().splitlines()
    if arguments == ['--tests']:
        named = {test for line in lines if is_row(line) for test in tested(line)}
        print(*sorted(f'tests/{file}' + (f'::{name}' if name else '') for file, name in named))
        return
    cases = read_cases(arguments)
    lines = [record(line, cases) if is_row(line) else line for line in lines]
    README.write_text('\n'.join(lines) + '\n')


if __name__ == '__main__':
    main(sys.argv[1:])
