"""The record of a command; each module of this package that has a ``COMMAND`` adds one to the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    The parameters of ``function`` are the options. The first parameter is positional, unless it is a record. The fields
    of a record are options too: without a prefix if the parameter is called ``config`` or ``options``, else with the
    parameter's name (``--disturb.rotate``). A parameter or field of type ``Component`` is a model or a dataset by name
    (``--model fastflow``) and has its constructor's arguments as options (``--model.steps 4``).

    Args:
        name: One word, or two such as ``data check``.
        help: One line for the list of commands.
        function: What the command does; it imports slow modules in its body.
        order: Position in the list of commands.
        config: Whether ``-c`` reads options from configuration files, and ``--print_config`` writes them.
        run: Parameter that names the run which provides the defaults of ``from_run``.
        from_run: Options whose defaults are those of that run.
        required: Options that must be given although their type has a default.
    """

    name: str
    help: str
    function: Callable[..., Any]
    order: int
    config: bool = False
    run: str = "run"
    from_run: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
