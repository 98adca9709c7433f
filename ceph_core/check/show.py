"""Findings for people, as a table by level, and for machines, as JSON."""

import json
from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from ceph_core.check.finding import LEVELS, Finding

STYLE = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}


def table(findings: Sequence[Finding]) -> Table:
    """A section a level, the worst first."""
    made = Table(box=box.SIMPLE_HEAD, title="checklist", title_justify="left", pad_edge=False)
    made.add_column("")
    made.add_column("check", no_wrap=True)
    made.add_column("found", ratio=3)
    made.add_column("what to do", ratio=2)
    for level in LEVELS:
        group = [finding for finding in findings if finding.level == level]
        for number, each in enumerate(group, start=1):
            cells = (Text(each.level, STYLE[level]), Text(each.check), Text(each.found), Text(each.todo))
            made.add_row(*cells, end_section=number == len(group))
    return made


def verdict(findings: Sequence[Finding]) -> str:
    """A line that sums up."""
    counts = Counter(finding.level for finding in findings)
    parts = [f"{counts[level]} {level}{'s' if counts[level] != 1 else ''}" for level in LEVELS[:-1] if counts[level]]
    ending = "; correct the errors before training" if counts["error"] else ""
    return f"{', '.join(parts) or 'nothing to remark'}{ending}"


def as_json(findings: Sequence[Finding]) -> str:
    """`{"errors": n, "warnings": n, "notes": n, "findings": [{level, check, found, todo}, ...]}`, worst first."""
    counts = Counter(finding.level for finding in findings)
    ordered = sorted(findings, key=lambda finding: LEVELS.index(finding.level))
    tree = {
        **{f"{level}s": counts[level] for level in LEVELS[:-1]},
        "findings": [finding.to_dict() for finding in ordered],
    }
    return json.dumps(tree, indent=1, ensure_ascii=False)
