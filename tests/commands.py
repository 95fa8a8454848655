"""Runs commands of ``sluice`` in tests."""

from click.testing import CliRunner, Result

from sluice.cli.main import main


class Run:
    """Runs a command and returns its result; the only accepted exception is an exit."""

    def __call__(self, *arguments: str) -> Result:
        result = CliRunner().invoke(main, list(arguments))
        if result.exception is not None:
            assert isinstance(result.exception, SystemExit), result.exception
        return result
