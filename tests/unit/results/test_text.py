import pytest

from anomalib_flows.results.figure import font, printable, shorten


@pytest.mark.parametrize("text", ["plain.png", "Größe\t\r\n.png", "検査/№1", "bad\udcff.png"])
def test_printable_is_ascii_of_one_line(text: str) -> None:
    assert printable(text).isascii()
    assert printable(text).isprintable()


def test_long_names_keep_their_end_and_fit() -> None:
    name = "very/long/folder/" * 20 + "000.png"
    short = shorten(name, 14, 200)
    assert font(14).getlength(short) <= 200
    assert short.startswith("...")
    assert short.endswith("/000.png")
    assert shorten("000.png", 14, 200) == "000.png"
