"""Help is read in a terminal, by people who know no Python."""

import re

import pytest

from anomalib_flows.cli.app import find_commands
from anomalib_flows.cli.parser import make_parser


@pytest.mark.parametrize("name", find_commands())
def test_help_has_neither_markup_nor_classes(name: str) -> None:
    text = make_parser(find_commands()[name], {}).format_help()
    assert "type: " in text
    assert not re.search(r"<class|Literal|Optional|Union", " ".join(text.split()))
    assert "``" not in text
