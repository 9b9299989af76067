import hashlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.data.splits import hold_out, read_splits, write_splits

TEST = [Sample(Path("/t/1.png"), "test"), Sample(Path("/t/2.png"), "test", 1, "cut", Path("/m/2.png"))]


def training(count: int) -> list[Sample]:
    return [Sample(Path(f"/data/{i}.png"), "train") for i in range(count)]


@given(count=st.integers(2, 200), fraction=st.floats(0.001, 0.999), seed=st.integers(0, 2**32))
def test_parts_are_complete_and_of_the_right_size(count, fraction, seed):
    samples = training(count) + TEST
    split = hold_out(samples, fraction, seed)
    sizes = Counter(s.split for s in split)
    assert [s.path for s in split] == [s.path for s in samples]
    assert split[count:] == TEST
    assert sizes["train"] >= 1
    assert sizes["calibration"] >= 1
    assert abs(sizes["calibration"] - fraction * count) <= 1


@given(samples=st.permutations(training(12)), seed=st.integers(0, 100))
def test_order_on_disk_does_not_matter(samples, seed):
    assert set(hold_out(samples, 0.25, seed)) == set(hold_out(training(12), 0.25, seed))


def test_seeds_draw_other_images_and_every_image_now_and_then():
    draws = [{s.path for s in hold_out(training(10), 0.2, seed) if s.split == "calibration"} for seed in range(60)]
    assert len({frozenset(held) for held in draws}) > 20
    assert set.union(*draws) == {s.path for s in training(10)}


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=20),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_images_of_the_same_content_stay_together(sizes, fraction, seed):
    paths = [[Path(f"/data/{group}/{i}.png") for i in range(size)] for group, size in enumerate(sizes)]
    same = {path: group[0] for group in paths for path in group if len(group) > 1}
    samples = [Sample(path, "train") for group in paths for path in group]
    split = {s.path: s.split for s in hold_out(samples, fraction, seed, same)}
    assert all(len({split[path] for path in group}) == 1 for group in paths)
    assert set(split.values()) == {"train", "calibration"}
    held = list(split.values()).count("calibration")
    assert held <= max(min(sizes), round(fraction * len(samples)))
    assert held > fraction * len(samples) - max(sizes) or held >= len(samples) - max(sizes)


def test_images_that_the_dataset_holds_out_are_enough():
    own = [*training(10), Sample(Path("/data/own.png"), "calibration")]
    assert hold_out(own + TEST, 0.2, 0) == own + TEST
    with pytest.raises(InputError, match="there are none"):
        hold_out(own[-1:], 0.2, 0)


def test_images_that_are_all_the_same_cannot_be_split():
    same = {s.path: Path("/data/0.png") for s in training(5)}
    with pytest.raises(InputError, match="At least 2 training images.*: all have the same content"):
        hold_out(training(5), 0.2, 0, same)


@pytest.mark.parametrize(("count", "text"), [(0, "there are none"), (1, "there is 1")])
def test_too_few_images(count, text):
    with pytest.raises(InputError, match=f"At least 2 training images are needed.*{text}"):
        hold_out(training(count) + TEST, 0.2, 0)


def test_negative_seed():
    with pytest.raises(InputError, match="`seed` cannot be -1"):
        hold_out(training(5), 0.2, -1)


names = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=20)
samples = st.builds(
    Sample,
    st.builds(lambda name: Path("/data", name), names),
    st.sampled_from(["train", "calibration", "test"]),
    st.integers(0, 1),
    names,
    st.none() | st.builds(lambda name: Path("/masks", name), names),
)


@settings(max_examples=30)
@given(samples=st.lists(samples, max_size=5))
def test_record_is_read_as_it_was_written(tmp_path_factory, samples):
    file = tmp_path_factory.mktemp("run") / "splits.csv"
    write_splits(samples, file)
    assert read_splits(file) == samples


def test_names_that_are_no_unicode(tmp_path):
    odd = [Sample(Path(b'/data/caf\xe9, "1"\n.png'.decode(errors="surrogateescape")), "train")]
    write_splits(odd, tmp_path / "splits.csv")
    assert read_splits(tmp_path / "splits.csv") == odd


def test_paths_become_absolute_and_the_columns_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(b"content")
    digest = hashlib.sha256(b"content").hexdigest()
    write_splits([Sample(Path("a.png"), "test", 1, "cut", Path("m.png"))], Path("splits.csv"))
    lines = Path("splits.csv").read_text().splitlines()
    assert lines == [
        "split,label,defect,path,mask,digest",
        f"test,1,cut,{tmp_path / 'a.png'},{tmp_path / 'm.png'},{digest}",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a,b\n1,2\n", "does not name the column split"),
        ("split,label,defect,path,mask\ntrain,x,good,/a,\n", "not a record of splits.*'x'"),
        ("split,label\ntrain", "does not name the column defect"),
    ],
)
def test_other_files_are_no_records(tmp_path, text, fault):
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(InputError, match=f"splits.csv is .*{fault}"):
        read_splits(tmp_path / "splits.csv")


def test_missing_record(tmp_path):
    with pytest.raises(InputError, match=r"splits.csv does not exist"):
        read_splits(tmp_path / "splits.csv")
