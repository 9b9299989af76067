"""Links within a site are followed, with their anchors."""

from __future__ import annotations

from pathlib import Path

import pytest

from check_links import main


def site(folder: Path, **pages: str) -> Path:
    for name, content in pages.items():
        (folder / f"{name}.html").write_text(content, encoding="utf-8")
    return folder


def test_pages_pictures_and_headings_are_found(tmp_path: Path) -> None:
    (tmp_path / "a b.png").touch()
    index = (
        '<a href="other.html#there"></a><img src="a%20b.png"><a href="https://example.org/x"></a><a href="#me" id="me">'
    )
    assert main(site(tmp_path, index=index, other='<h2 id="there"></h2>')) == 0


@pytest.mark.parametrize("link", ["none.html", "other.html#none", "#none", "none.png"])
def test_a_broken_link_is_named(link: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(site(tmp_path, index=f'<a href="{link}"></a>', other="")) == 1
    assert f"index.html: {link} leads nowhere" in capsys.readouterr().out


def test_an_empty_folder_is_no_site(tmp_path: Path) -> None:
    assert main(tmp_path) == 1
