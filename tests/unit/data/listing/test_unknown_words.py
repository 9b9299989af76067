"""Words that are not recognised in tables and folders are refused or named; none of them means good in silence."""

import json
from pathlib import Path

import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import LeftOutWarning
from anomalib_flows.core.types import ANOMALOUS, NORMAL
from anomalib_flows.data.datasets.folder import Folder
from anomalib_flows.data.datasets.mvtec import MVTec
from anomalib_flows.data.words import label_of

UNDERSTOOD = [
    "path, label\n{}, {}\n",
    "path,Label\n{},{}\n",
    "Path,LABEL\n{},{}\n",
    " path ,label \n{},{} \n",
    "path;label\n{};{}\n",
    "path\tlabel\n{}\t{}\n",
    "\ufeffpath,label\n{},{}\n",
    '"path","label"\n"{}","{}"\n',
]
REFUSED = {
    "path,labels\n{},bad\n": "column labels but no column label",
    "path,Lable\n{},bad\n": "column lable but no column label",
    "path,is_defect\n{},1\n": "column is_defect but no column label",
    "path,is-good\n{},0\n": "column is-good but no column label",
    "path,class\n{},bad\n": "column class but no column label",
    "path,Target\n{},1\n": "column target but no column label",
    "path,y\n{},1\n": "column y but no column label",
    "path,anomaly\n{},1\n": "column anomaly but no column label",
    "path,result\n{},NG\n": "column result but no column label",
    "path,befund\n{},nio\n": "labels in the column befund",
    "path,remark\n{},broken\n1.png,fine edge\n": "labels in the column remark",
    "path,status\n{},scratch\n": "column status but no column label",
    "path,label\n{},\n1.png,bad\n": "has no label for 1 of 2 images",
    "path,label\n{},good\n1.png\n": "has no label for 1 of 2 images",
    "path,label\n   ,good\n": "lacks a path",
    "path,defect,mask\n{},crack,\n": "has a defect but no label",
    "path,defect\n{},good\n": "has a defect but no label",
    "path,mask\n{},m.png\n": "has a mask but no label",
    "path,label,defect\n{},,crack\n": "has a defect but no label",
    "path,label,defect\n{},ok,crack\n": "has the label 'ok', but the defect 'crack'",
    "path,label,defect\n{},bad,OK\n": "is defective, but its defect is 'OK'",
    "path,label\n{},maybe\n": "has the label 'maybe': use good or bad",
    "path,label\n{},2\n": "has the label '2'",
    "path,label\n{},1.0\n": "has the label '1.0'",
    "path,label\n{},nan\n": "has the label 'nan'",
    "path,label,Label\n{},bad,good\n": "two columns label",
    "path,label,split\n{},bad,Train\n": "is defective and of split train",
    "path,label,split\n{},good,dev\n": "has the split 'dev'",
    "path,label,set\n{},good,test\n": "column set but no column split",
    "path,label,masks\n{},bad,m.png\n": "column masks but no column mask",
    "path,label,defect_type\n{},bad,cut\n": "column defect_type but no column defect",
    "file,label\n{},bad\n": "does not name the column path; rename file",
    "image_path,label\n{},bad\n": "does not name the column path; rename image_path",
    "path:label\n{}:bad\n": "does not name the column path, it is 'path:label'",
    "file name;verdict\n{};NG\n": "does not name the column path; rename file name",
}


def table(tmp_path: Path, save, text: str, suffix: str = ".csv") -> Folder:
    for i in range(3):
        save(f"{i}.png")
    file = tmp_path / f"list{suffix}"
    file.write_text(text, encoding="utf-8")
    return Folder(table=file)


@pytest.mark.parametrize("text", UNDERSTOOD)
@pytest.mark.parametrize("word", ["bad", "NG", "Defective", "1", "n.i.O.", "not ok"])
def test_names_of_columns_and_labels_are_read_in_any_case(tmp_path: Path, save, text: str, word: str) -> None:
    body = text.format("0.png", word) + text.format("1.png", "good").partition("\n")[2]
    labels = {s.path.name: s.label for s in table(tmp_path, save, body).samples()}
    assert labels["0.png"] == ANOMALOUS
    assert labels["1.png"] == NORMAL


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text.partition("{")[0].strip())
def test_what_is_not_understood_is_refused(tmp_path: Path, save, text: str) -> None:
    dataset = table(tmp_path, save, text.format("0.png"))
    with pytest.raises(InputError, match=REFUSED[text]):
        dataset.samples()


@pytest.mark.parametrize("key", ["labels", "Defective", "is_anomaly", "klass"])
def test_keys_of_json_are_no_better(tmp_path: Path, save, key: str) -> None:
    rows = [{"path": "0.png", key: "bad"}, {"path": "1.png", key: "good"}]
    dataset = table(tmp_path, save, json.dumps(rows), ".json")
    with pytest.raises(InputError, match=key.casefold()):
        dataset.samples()


def test_a_spreadsheets_unicode_text_is_read(tmp_path: Path, save) -> None:
    dataset = table(tmp_path, save, "")
    assert dataset.table is not None
    dataset.table.write_bytes("path\tlabel\r\n0.png\tgood\r\n1.png\tn.i.O.\r\n".encode("utf-16"))
    assert [s.label for s in dataset.samples()] == [NORMAL, ANOMALOUS]


def test_columns_without_a_meaning_are_named(tmp_path: Path, save) -> None:
    dataset = table(tmp_path, save, "path,label,camera,time\n0.png,good,3,12:00\n1.png,bad,4,12:01\n")
    with pytest.warns(LeftOutWarning, match="list.csv: left out the columns camera, time"):
        assert [s.label for s in dataset.samples()] == [NORMAL, ANOMALOUS]


@pytest.mark.parametrize(("word", "label"), [("gut", 0), ("i.O.", 0), ("Defect-free", 0), ("NOK", 1)])
def test_words_of_the_field(word: str, label: int) -> None:
    assert label_of(word) == label


@pytest.mark.parametrize(
    "word",
    ["", " ", "2", "-1", "goodish", "unknown", "true", "crack", "0.0", "1_good", "defect=0", "0 defects", "good_2"],
)
def test_other_words_are_unknown(word: str) -> None:
    assert label_of(word) is None


@pytest.fixture
def nut(save, tmp_path: Path) -> MVTec:
    for name in ("train/good/0.png", "train/good/1.png", "test/good/0.png", "test/cut/0.png"):
        save(f"nut/{name}")
    save("nut/ground_truth/cut/0_mask.png", 1)
    return MVTec(root=tmp_path, category="nut")


GOOD_FOLDERS = ["OK", "Good", "GOOD", "normal", "Clean", "okay", "i.O.", "defect-free", "no defect", "healthy", "pass"]


@pytest.mark.parametrize("name", GOOD_FOLDERS)
def test_a_kind_of_defect_is_not_called_good(nut: MVTec, save, name: str) -> None:
    save(f"nut/test/{name}/0.png")
    with pytest.raises(InputError, match="has the name of good images: rename it to good"):
        nut.samples()


@pytest.mark.parametrize("name", ["mask", "Masks", "ground-truth", "gt", "annotations"])
def test_a_kind_of_defect_is_not_called_mask(nut: MVTec, save, name: str) -> None:
    save(f"nut/test/{name}/0.png")
    with pytest.raises(InputError, match="has the name of masks"):
        nut.samples()


@pytest.mark.parametrize(
    ("names", "left_out"),
    [
        (["test/7.png", "test/8.png"], "test: left out 2 images that are in none of its folders"),
        (["train/7.png"], "train: left out 1 images that are in none of its folders"),
        (["train/bad/0.png"], r"train: left out bad \(1 images\)"),
        (["train/OK/0.png"], r"train: left out OK \(1 images\)"),
        (["Test/cut/0.png"], r"nut: left out Test \(1 images\)"),
        (["validation/good/0.png"], r"nut: left out validation \(1 images\)"),
        (["7.png"], "nut: left out 1 images that are in none of its folders"),
    ],
)
def test_images_outside_of_the_layout_are_counted(nut: MVTec, save, names: list[str], left_out: str) -> None:
    for name in names:
        save(f"nut/{name}")
    with pytest.warns(LeftOutWarning, match=left_out):
        assert len(nut.samples()) == 4


@pytest.mark.parametrize("name", ["Good", "OK", "normal"])
def test_a_folder_of_good_images_with_another_name_is_named(save, tmp_path: Path, name: str) -> None:
    save(f"nut/train/{name}/0.png")
    with pytest.raises(InputError, match=f"has no folder train/good: rename train/{name}"):
        MVTec(root=tmp_path, category="nut").samples()


@pytest.mark.parametrize("name", ["bad", "NG", "Defects", "anomaly", "nok", "line 1/ko", "reject"])
def test_good_photos_do_not_come_from_a_folder_of_defects(save, tmp_path: Path, name: str) -> None:
    save("photos/0.png")
    save(f"photos/{name}/1.png")
    with pytest.raises(InputError, match="`normal` .*photos has a folder of defective images"):
        Folder(normal=tmp_path / "photos").samples()


@pytest.mark.parametrize("name", [*GOOD_FOLDERS, "cut/good"])
def test_defects_do_not_come_from_a_folder_of_good_photos(save, tmp_path: Path, name: str) -> None:
    save("good/0.png")
    save(f"bad/{name}/1.png")
    with pytest.raises(InputError, match="`abnormal` .*bad has a folder of good images"):
        Folder(normal=tmp_path / "good", abnormal=tmp_path / "bad").samples()


@pytest.mark.parametrize("argument", ["normal", "abnormal"])
@pytest.mark.parametrize("name", ["masks", "ground_truth", "Mask", "segmentation"])
def test_masks_are_no_photos(save, tmp_path: Path, argument: str, name: str) -> None:
    save("good/0.png")
    save("bad/1.png")
    save(f"{'good' if argument == 'normal' else 'bad'}/{name}/1.png")
    with pytest.raises(InputError, match=f"`{argument}` .* has a folder of masks"):
        Folder(normal=tmp_path / "good", abnormal=tmp_path / "bad").samples()


def test_a_category_of_mvtec_is_no_folder_of_good_photos(nut: MVTec, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="category in MVTec AD's layout: give `data` mvtec"):
        Folder(normal=tmp_path / "nut").samples()


def test_good_photos_with_names_of_defects_are_named(save, tmp_path: Path) -> None:
    for name in ("1.png", "2_bad.png", "NG-3.png", "badge.png"):
        save(f"good/{name}")
    with pytest.warns(UserWarning, match=r"2 good images of `normal` .*good have names of defective ones"):
        assert len(Folder(normal=tmp_path / "good").samples()) == 4


@pytest.mark.parametrize(("argument", "name"), [("normal", "defective"), ("abnormal", "good"), ("normal", "masks")])
def test_the_named_folder_counts_too(save, tmp_path: Path, argument: str, name: str) -> None:
    for folder in ("ok", name, "cut"):
        save(f"photos/{folder}/1.png")
    options = {"normal": tmp_path / "photos/ok", "abnormal": tmp_path / "photos/cut"}
    with pytest.raises(InputError, match=f"`{argument}` .*photos/{name} has a folder of"):
        Folder(**options | {argument: tmp_path / "photos" / name}).samples()


@pytest.mark.parametrize("name", ["no_defect_1", "defect-free_2", "non_defective_3", "not bad", "badge"])
def test_names_that_deny_a_defect_are_no_reason_to_warn(save, tmp_path: Path, name: str, recwarn) -> None:
    save(f"good/{name}.png")
    assert len(Folder(normal=tmp_path / "good").samples()) == 1
    assert not recwarn.list


def test_a_pattern_may_take_the_good_images_of_a_category(nut: MVTec, tmp_path: Path) -> None:
    found = Folder(normal=tmp_path / "nut/*/good/*.png").samples()
    assert [s.path.parent.parent.name for s in found] == ["test", "train", "train"]
