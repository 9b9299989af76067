"""Tables of a benchmark: nothing stands beside figures that they cannot be compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomalib_flows.benchmark.formats import latex, markdown, page
from anomalib_flows.benchmark.grid import configuration, each_model
from anomalib_flows.benchmark.options import Grid
from anomalib_flows.benchmark.published import published
from anomalib_flows.benchmark.results import Result, read_results, write_results
from anomalib_flows.benchmark.tables import tables_of
from anomalib_flows.core.errors import InputError
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.configurations import config_folder, load

CATEGORIES = sorted({c for (data, _), found in published().items() if data == "mvtec" for c in found} - {"average"})


def result(category: str, seed: int = 0, value: float | None = 0.9, **changed: object) -> Result:
    made = Result(
        model="ours",
        method="fastflow",
        dataset="mvtec",
        category=category,
        seed=seed,
        protocol="calibrated",
        split="test",
        size="256x256",
        image_auroc=value,
        image_f1_max=value,
        pixel_auroc=value,
        pixel_aupro=value,
        seconds=10.0,
        parameters=10**6,
        megabytes=25.0,
        latency_ms=None,
        version="1",
        run=f"fastflow/mvtec/{category}/ours-seed{seed}",
        error="",
    )
    return replace(made, **changed)


def test_a_published_average_stands_only_beside_that_of_the_same_categories() -> None:
    assert len(CATEGORIES) == 15
    for categories, shown in ((CATEGORIES, True), (CATEGORIES[1:], False), ([*CATEGORIES, "mine"], False)):
        table = next(iter(tables_of([result(category) for category in categories])))
        theirs = [column for column, name in enumerate(table.header) if name.startswith("FastFlow [")]
        assert theirs
        assert any(table.rows[-1][column] != "-" for column in theirs) == shown
        assert all(table.rows[0][column] != "-" for column in theirs if categories == CATEGORIES)


def test_means_and_deviations_are_over_seeds() -> None:
    values = np.random.default_rng(0).random((2, 3))
    given = [result(c, s, float(values[i, s])) for i, c in enumerate("xy") for s in range(3)]
    table = next(iter(tables_of(given)))
    assert table.rows[0] == ["x", f"{values[0].mean():.3f} ± {values[0].std(ddof=1):.3f}"]
    of_seeds = values.mean(0)
    assert table.rows[-1] == ["average", f"{of_seeds.mean():.3f} ± {of_seeds.std(ddof=1):.3f}"]


def test_an_average_needs_all_runs() -> None:
    given = [result("x"), result("x", 1), result("y"), result("y", 1, None, error="it failed")]
    table = next(iter(tables_of(given)))
    assert table.rows == [["x", "0.900 ± 0.000"], ["y", "-"], ["average", "-"]]
    uneven = next(iter(tables_of([result("x"), result("x", 1), result("y")])))
    assert uneven.rows[-1] == ["average", "-"]


@pytest.mark.parametrize("changed", [{"protocol": "paper"}, {"split": "validation"}])
def test_results_that_cannot_be_compared_are_refused(changed: dict[str, str]) -> None:
    with pytest.raises(InputError, match="mix"):
        list(tables_of([result("x"), result("y", **changed)]))


def test_names_are_escaped_in_each_format() -> None:
    table = next(iter(tables_of([result("a|b & <c>_%", model="=x\\y")])))
    assert "| a/b & <c>_% |" in markdown([table])
    assert "<td>a|b &amp; &lt;c&gt;_%</td>" in page([table])
    assert r"a\textbar{}b \& \textless{}c\textgreater{}\_\% & 0.900 \\" in latex([table])
    assert r"=x\textbackslash{}y" in latex([table])


def test_latex_sees_no_command_nor_option_in_a_name() -> None:
    name = "[x] 50% $1 #2 ~a ^b {c} \\d\n\ne_f"
    [line] = [text for text in latex(list(tables_of([result(name)]))[:1]).splitlines() if "50" in text]
    words = r"{[}x] 50\% \$1 \#2 \textasciitilde{}a \textasciicircum{}b \{c\} \textbackslash{}d e\_f & 0.900 \\"
    assert line == words


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    given = [
        result("=1+1", error="one, \"two\" 'three'"),
        result("'90s", value=None, seconds=None),
        result("ü\u2028\x0b\n", 2**63),
    ]
    write_results(tmp_path, given)
    assert read_results(tmp_path / "results.csv") == given


@pytest.mark.parametrize("file", sorted((config_folder() / "grids").glob("*.yaml")), ids=lambda file: file.stem)
def test_grids_of_the_package_have_valid_configurations(file: Path) -> None:
    grid = Grid(**load(file))
    for _, name, options, backbone in each_model(grid):
        for category in CATEGORIES:
            values = configuration(name.replace("{category}", category), options, backbone)
            TrainConfig.from_dict(values | {"data": None}).model.check("models", 1)
