"""Everything that commands print goes through `encore.cli.output`, which keeps what would act on a
terminal out of it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import encore
from encore.cli.output import announce, print_json, say

CLI = Path(encore.__file__).parent / "cli"
HOSTILE = "a\x1b[31mb\u202ec\x07d\x9be"


@pytest.mark.parametrize(
    "file", sorted(CLI.rglob("*.py")), ids=lambda file: str(file.relative_to(CLI))
)
def test_no_command_prints_by_itself(file: Path) -> None:
    """`print`, and `write` of a standard stream, know nothing of terminals; `console.print` is for
    values that draw themselves, and no text.
    """
    if file == CLI / "output.py":
        return
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    assert not [
        ast.unparse(call)
        for call in calls
        if ast.unparse(call.func) in ("print", "sys.stdout.write", "sys.stderr.write")
        or (
            isinstance(call.func, ast.Attribute)
            and call.func.attr == "print"
            and any(isinstance(each, ast.Constant | ast.JoinedStr) for each in call.args)
        )
    ]


def test_what_is_printed_acts_on_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown = "a\ufffd[31mb\ufffdc\ufffdd\ufffde"
    say(HOSTILE, f"{HOSTILE}\n{HOSTILE}")
    announce([HOSTILE])
    print_json({HOSTILE: 1})
    found = capsys.readouterr()
    *lines, json_line = found.out.splitlines()
    assert lines == [shown] * 3
    assert json_line == r'{"a\u001b[31mb\u202ec\u0007d\u009be": 1}'
    assert found.err == f"{shown}\n"
