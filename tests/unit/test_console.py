"""What the command line prints of texts that others have written."""

from io import StringIO

from rich.table import Table

from sluice.cli.console import PrintableConsole


def test_control_characters_are_escaped_in_lines_and_cells() -> None:
    out = StringIO()
    console = PrintableConsole(file=out, width=100)
    hostile = "\x1b]0;title\x07 é\x9b2J"
    console.print(hostile, markup=False)
    table = Table("name", title=hostile)
    table.add_row(hostile)
    console.print(table)
    assert out.getvalue().count(r"\x1b]0;title\x07 é\x9b2J") == 3
    assert not set(out.getvalue()) & {"\x1b", "\x07", "\x9b"}
