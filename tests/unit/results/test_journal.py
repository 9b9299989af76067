"""Lines that grow in a file: whole lines are found again, whatever happened to the file."""

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import OWN
from anomalib_flows.results.journal import THUMBNAILS, Form, Journal, table_form
from anomalib_flows.results.table import csv_cells, csv_line

TABLE = table_form(("path", "score"))
FORMS = pytest.mark.parametrize("form", [TABLE, THUMBNAILS])


def written(file: Path, form: Form, lines: list[bytes]) -> Journal:
    journal = Journal(file.open("a+b", buffering=0), file, form)
    journal.keep(0, 0)
    for line in lines:
        journal.append(line)
    return journal


def found(file: Path, form: Form) -> list[bytes]:
    with file.open("a+b", buffering=0) as stream:
        return [line for line, _ in Journal(stream, file, form).lines()]


def lines_of(form: Form) -> list[bytes]:
    return [csv_line((f"photos/{i}.png", i / 7)) if form is TABLE else b'{"path": "%d"}\n' % i for i in range(9)]


@FORMS
def test_every_cut_leaves_the_whole_lines_before_it(tmp_path: Path, form: Form) -> None:
    lines, file = lines_of(form), tmp_path / "file"
    written(file, form, lines).stream.close()
    whole = file.read_bytes()
    ends = [len(form.header)]
    for line in lines:
        ends.append(ends[-1] + len(form.sealed(line)))
    assert ends[-1] == len(whole)
    for length in range(len(whole) + 1):
        file.write_bytes(whole[:length])
        assert found(file, form) == lines[: sum(end <= length for end in ends[1:])]


@FORMS
def test_every_flipped_bit_is_found(tmp_path: Path, form: Form) -> None:
    lines, file = lines_of(form), tmp_path / "file"
    written(file, form, lines).stream.close()
    whole = file.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            file.write_bytes(damaged)
            known = found(file, form)
            before = whole[len(form.header) : place].count(form.end)
            assert known == lines[: len(known)]
            assert len(known) == (before if place >= len(form.header) else 0)


@given(st.lists(st.lists(st.text(max_size=30), min_size=2, max_size=2), max_size=12))
@settings(max_examples=60, deadline=None)
def test_cells_of_any_text_come_back(tmp_path_factory: pytest.TempPathFactory, cells: list[list[str]]) -> None:
    """Names of files may have ends of lines, quotes and commas."""
    file = tmp_path_factory.mktemp("journal") / "file"
    written(file, TABLE, [csv_line(row) for row in cells]).stream.close()
    assert [csv_cells(line) for line in found(file, TABLE)] == cells


@FORMS
def test_what_is_kept_is_gone_on_with(tmp_path: Path, form: Form) -> None:
    lines, file = lines_of(form), tmp_path / "file"
    written(file, form, lines).stream.close()
    with file.open("ab") as stream:
        stream.write(b"half a li")
    with file.open("a+b", buffering=0) as stream:
        journal = Journal(stream, file, form)
        _, end = list(journal.lines())[4]
        journal.keep(5, end)
        journal.append(b"next" + form.end)
        assert journal.count == 6
        assert found(file, form) == [*lines[:5], b"next" + form.end]
        journal.finish(tmp_path / "final", b"header\n")
    assert (tmp_path / "final").read_bytes() == b"header\n" + b"".join([*lines[:5], b"next" + form.end])


def test_damage_while_it_grows_is_noticed_at_the_end(tmp_path: Path) -> None:
    journal = written(tmp_path / "file", TABLE, lines_of(TABLE))
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content.replace(b"photos/3", b"photos/5"))
    with pytest.raises(InputError, match="was damaged meanwhile: repeat the command with `resume`"):
        journal.finish(tmp_path / "final", b"")
    assert not (tmp_path / "final").exists()


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from anomalib_flows.core.types import ImageResult, Sample
from anomalib_flows.results.journal import Journal, table_form
from anomalib_flows.results.drawing import drawing
from anomalib_flows.results.pictures import PictureSink
from anomalib_flows.results.sinks import drain
from anomalib_flows.results.table import COLUMNS, TableSink

def results():
    for number in range(100):
        sample = Sample(Path(f"{'x' * 40}{number:02}.png"), "test")
        image, shown = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)
        yield ImageResult(
            score=1.0, label=1, p_value=0.5, raw_score=1.0,
            anomaly_map=shown, mask=shown > 0, picture=image, sample=sample,
        )

resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
folder = Path(sys.argv[1])
folder.mkdir()
with (folder / "rows.csv").open("a+b", buffering=0) as stream, drawing() as threads:
    journal = Journal(stream, folder / "rows.csv", table_form(COLUMNS))
    journal.keep(0, 0)
    rows = TableSink(lambda line: threads.after(journal.append, line), labelled=False)
    drain(results(), [PictureSink(threads, folder, lambda result: result.sample.path), rows])
"""


def test_a_disk_that_becomes_full_leaves_the_rows_before(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    run = subprocess.run([sys.executable, "-c", FULL, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27]" in run.stderr
    table = (tmp_path / "out/rows.csv").read_bytes()
    assert 1900 < len(table) <= 2000
    assert table[:-11].endswith(b",,,,1.0")
    rows = list(csv.DictReader(table.decode().splitlines()))
    assert [row["path"] for row in rows] == [f"{'x' * 40}{number:02}.png" for number in range(len(rows))]
    drawn = [file for file in (tmp_path / "out").rglob("*.png") if file.name != OWN]
    assert {file.name for file in drawn} >= {row["path"] for row in rows}


def failing(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_no_row_is_written_after_a_picture_that_failed(tmp_path: Path) -> None:
    from anomalib_flows.results.drawing import drawing

    seen: list[int] = []
    draw: Callable[..., object]
    with pytest.raises(OSError, match="No space"), drawing() as threads:  # noqa: PT012
        for number in range(20):
            draw = failing if number == 7 else str
            threads.submit(draw, number)
            threads.after(seen.append, number)
    assert seen == list(range(7))
