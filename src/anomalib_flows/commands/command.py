"""The record of a command; each module of this package that has a ``COMMAND`` adds one to the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

ALL = ("*",)
"""All options of the configuration of a run."""


class Command(NamedTuple):
    """A command of the command line.

    The parameters of ``function`` are the options; the first one is positional unless it is a record. The fields of a
    record are options without a prefix, those of a record in it have its name as prefix (``--disturb.rotate``). A field
    of type ``Component`` names a model or a dataset and has its arguments as options (``--model.steps 4``).

    Args:
        name: One word, or two such as ``data check``.
        help: One line for the list of commands.
        function: What the command does; it imports slow modules in its body.
        order: Position in the list of commands.
        config: Whether ``-c`` reads options from configuration files, and ``--print_config`` writes them.
        run: Option that names the run which provides the defaults of ``from_run``.
        from_run: Options whose defaults are those of that run; ``ALL`` for each field of its configuration.
        records: Module of the records and types in the function's annotations. It is imported when the command is used:
            modules of commands import records for type checkers alone, so that all commands are listed at once.
        newest: Whether the newest run in the folder ``results`` is taken if none is named.
        required: Options that must be given although their type has a default.
    """

    name: str
    help: str
    function: Callable[..., Any]
    order: int
    config: bool = False
    run: str = "run"
    from_run: tuple[str, ...] = ()
    records: str = ""
    newest: bool = False
    required: tuple[str, ...] = ()
