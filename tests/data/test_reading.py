"""Folders and tables as users have them are read, or refused with one line and a solution."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from excite.audit.reading import read_images
from excite.data.reading import read_manifest
from excite.errors import ExciteError
from tests.data.files import touch


def pairs(root: Path, **options: object) -> list[tuple[str, str]]:
    table = read_manifest(root, **options).table
    return [
        (str(Path(path).relative_to(root)), label)
        for path, label in zip(table["path"], table["label"], strict=True)
    ]


def test_class_folders_are_read_to_any_depth_in_a_fixed_order(tmp_path: Path) -> None:
    touch(tmp_path, "dog/2.PNG", "dog/10.png", "cat/b/x.jpeg", "cat/a/deep/er/y.webp", "cat/z.tif")
    expected = ["cat/a/deep/er/y.webp", "cat/b/x.jpeg", "cat/z.tif", "dog/10.png", "dog/2.PNG"]
    assert pairs(tmp_path) == [(name, name.split("/")[0]) for name in expected]
    assert read_manifest(tmp_path).splits == ()
    assert all(Path(path).is_absolute() for path in read_manifest(os.path.relpath(tmp_path)).table["path"])


def test_system_files_are_ignored_and_other_files_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png", "a/notes.txt", "readme.md")
    touch(tmp_path, ".git/x.png", "__MACOSX/a/._1.png", "a/.hidden.png", "a/Thumbs.db", "b/.DS_Store")
    made = read_manifest(tmp_path)
    assert (len(made), made.classes, made.ignored) == (4, ("a", "b"), 2)
    [left_out] = made.left_out
    assert str(left_out).startswith(
        "2 files were left out because they do not have the extension of an image, for example"
    )
    assert Path(left_out.example).is_file()


def test_images_without_an_extension_or_a_class_are_reported(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{i}.png" for name in "ab" for i in range(2)))
    touch(tmp_path, "a/3.png?width=300", "a/4", "b/5.jpg_large", "beside.png", "train.csv")
    by_name, beside = read_manifest(tmp_path).left_out
    assert by_name.count == 4
    told = (
        f"1 file was left out because it is outside the class folders, for example {tmp_path / 'beside.png'}"
    )
    assert str(beside) == told


@pytest.mark.parametrize(
    ("val", "test"),
    [
        ("val", "test"),
        ("Valid", "TEST"),
        ("validation", "Testing"),
        ("valid_data", "test-set"),
        ("ValidationSet", "testset"),
        ("dev", "hold_out"),
        ("eval", "test_data"),
        ("val", "evaluation"),
    ],
)
def test_split_folders_fill_the_split_column(tmp_path: Path, val: str, test: str) -> None:
    names = [f"{part}/{name}/{i}.jpg" for part in ("Train", val, test) for name in "ab" for i in range(2)]
    made = read_manifest(touch(tmp_path, *names, "labels.csv"))
    assert made.splits == ("train", "val", "test")
    assert made.classes == ("a", "b")
    for row in made.table.itertuples():
        folder = Path(row.path).relative_to(tmp_path).parts[0]
        assert row.split == {"Train": "train", val: "val", test: "test"}[folder]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{i}.jpg" for name in ("train", "plane", "ship") for i in range(2)))
    made = read_manifest(tmp_path)
    assert (made.classes, made.splits) == (("plane", "ship", "train"), ())


@pytest.mark.parametrize(
    ("first", "second", "splits"),
    [
        ("training_set", "test_set", ("train", "test")),
        ("train", "eval", ("train", "test")),
        ("Train Data", "Hold-Out", ("train", "test")),
        ("training_set/training_set", "test_set/test_set", ("train", "test")),  # as some archives unpack
    ],
)
def test_split_folders_go_by_many_names(
    tmp_path: Path, first: str, second: str, splits: tuple[str, ...]
) -> None:
    touch(tmp_path, *(f"{top}/{name}/{i}.jpg" for top in (first, second) for name in "ab" for i in range(2)))
    made = read_manifest(tmp_path)
    assert (made.classes, made.splits) == (("a", "b"), splits)


@pytest.mark.parametrize("tops", [("fold1", "fold2"), ("site A", "site B", "site C"), ("train", "unlabeled")])
def test_unknown_folders_with_the_same_class_folders_are_no_classes(
    tmp_path: Path, tops: tuple[str, ...]
) -> None:
    touch(tmp_path, *(f"{top}/{name}/{i}.jpg" for top in tops for name in ("cat", "dog") for i in range(2)))
    with pytest.raises(ExciteError, match=r"'cat', 'dog': are they splits or classes\?") as caught:
        read_manifest(tmp_path)
    assert all(repr(top) in str(caught.value) for top in tops)
    assert "CSV with columns path, label, and split" in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        ["cat/images/1.png", "cat/images/2.png", "dog/images/1.png", "dog/images/2.png"],
        ["cat/left/1.png", "cat/right/2.png", "cat/3.png", "dog/left/1.png", "dog/right/2.png"],
        ["cat/1999/1.png", "cat/2001/2.png", "dog/2001/1.png", "dog/2005/2.png"],
    ],
)
def test_folders_below_classes_are_no_classes(tmp_path: Path, names: list[str]) -> None:
    assert read_manifest(touch(tmp_path, *names)).classes == ("cat", "dog")


def test_a_test_folder_without_classes_is_refused_with_a_solution(tmp_path: Path) -> None:
    touch(tmp_path, *(f"train/{name}/{i}.jpg" for name in "ab" for i in range(2)), "test/1.jpg", "test/2.jpg")
    with pytest.raises(ExciteError, match="test/ has no class folders: its 2 images have no class"):
        read_manifest(tmp_path)
    (tmp_path / "labels.csv").touch()
    with pytest.raises(ExciteError, match=r"if labels\.csv lists them"):
        read_manifest(tmp_path)


def test_one_folder_around_the_class_folders_is_refused_with_a_solution(tmp_path: Path) -> None:
    touch(tmp_path, "PetImages/Cat/1.png", "PetImages/Dog/1.png")
    with pytest.raises(ExciteError, match=r"if its folders are the classes, name .*PetImages"):
        read_manifest(tmp_path)


def test_class_names_are_the_same_in_both_unicode_forms(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    names = [f"train/{composed}", "train/tea", f"test/{decomposed}", "test/tea"]
    made = read_manifest(touch(tmp_path, *(f"{name}/{i}.png" for name in names for i in range(2))))
    assert made.classes == (composed, "tea")
    assert made.part("test").counts() == {composed: 2, "tea": 2}
    assert all(Path(path).is_file() for path in made.table["path"])


def test_dots_behind_a_link_lead_where_the_system_goes(tmp_path: Path) -> None:
    touch(tmp_path / "store/photos", *(f"{name}/{i}.png" for name in "ab" for i in range(2)))
    touch(tmp_path / "here/photos", *(f"{name}/{i}.png" for name in "xy" for i in range(2)))
    touch(tmp_path / "store/inner", "table.csv")
    (tmp_path / "here/link").symlink_to(tmp_path / "store/inner")
    assert read_manifest(tmp_path / "here/link/../photos").classes == ("a", "b")
    rows = [f"link/../photos/{name}/{i}.png,{name}\n" for name in "ab" for i in range(2)]
    (tmp_path / "here/table.csv").write_text("path,label\n" + "".join(rows))
    assert all(Path(path).is_file() for path in read_manifest(tmp_path / "here/table.csv").table["path"])


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text here")
def test_a_name_that_is_not_utf8_is_one_clear_line(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{i}.png" for name in "ab" for i in range(2)))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff.png")).touch()
    with pytest.raises(ExciteError, match=r"\\xff\.png: the path is not UTF-8 \(rename it"):
        read_manifest(tmp_path)
    above = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe"))
    touch(above, "a/1.png", "b/1.png")
    with pytest.raises(ExciteError, match="is not UTF-8"):
        read_manifest(above)


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{i}.png" for name in "ab" for i in range(2)))
    os.mkfifo(tmp_path / "a/pipe.png")
    assert read_manifest(tmp_path).counts() == {"a": 2, "b": 2}


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "3.png")
    touch(tmp_path / "data", "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    (tmp_path / "data/a/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/a/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/b/self").symlink_to(tmp_path / "data/b")
    (tmp_path / "data/b/gone.png").symlink_to(tmp_path / "nowhere.png")
    assert read_manifest(tmp_path / "data").counts() == {"a": 3, "b": 3}  # a broken link is for the check


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "the folder is empty"),
        (["notes.txt"], "contains no images, only 1 other files"),
        (["1.png", "2.png"], "2 images are in the folder itself, without a class .*<class>/<image>"),
        (["train/1.png", "test/2.png"], "have no class"),
        (["a/1.png", "a/2.png"], "at least two classes"),
        (["a/1.png", "a/2.png", "b/list.txt"], "b: the class folder contains no images, only 1 other files"),
        (["A/1.png", "A/2.png", "a/1.png", "a/2.png"], "'A' and 'a' differ only in spelling"),
        (
            ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/c/1.png"],
            "2 of 3 classes have fewer than two images: 'b' has 1",
        ),
        (["train/a/1.png", "train/b/1.png", "train/b/2.png", "val/a/1.png"], "'b' has no images in val"),
        (
            ["train/a/1.png", "train/b/1.png", *(f"test/{n}/{i}.png" for n in "abc" for i in range(2))],
            "class 'c' has no images in train",
        ),
        (["train/a/1.png", "val/a/1.png", "valid/a/1.png"], "'val' and 'valid' mean the same split"),
        (["train/a/1.png", "val/a/1.png", "extra/a/1.png"], "'extra' contains images, but is not train"),
    ],
)
def test_folders_that_cannot_be_used_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        read_manifest(touch(tmp_path, *names))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_missing_place_is_refused_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "flowers/a/1.png")
    with pytest.raises(ExciteError, match=r"no such file or folder \(did you mean '.*flowers'") as caught:
        read_manifest(tmp_path / "flower")
    assert caught.value.exit_code == 2
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExciteError, match="did you mean 'digits'"):
        read_manifest("digit")


def test_one_picture_is_no_data_set(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg")
    with pytest.raises(ExciteError, match="is a single image") as caught:
        read_manifest(tmp_path / "x.jpg")
    assert caught.value.exit_code == 2


def table(root: Path, text: str, encoding: str = "utf-8") -> Path:
    path = root / "data.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_csv_file_gives_paths_labels_groups_splits_and_more(tmp_path: Path) -> None:
    text = "age,path,label,group,split\n41,img/1.png,01,p1,Train\n,/abs/2.png,NA,p2,validation\n"
    text += "7,img/../3.png,01,,test\n"
    made = read_manifest(table(tmp_path, text), complete=False)
    rows = made.table[["path", "label", "group", "split", "age"]].to_numpy().tolist()
    assert rows == [
        [str(tmp_path / "img/1.png"), "01", "p1", "train", "41"],
        ["/abs/2.png", "NA", "p2", "val", ""],
        [str(tmp_path / "3.png"), "01", "", "test", "7"],
    ]
    assert made.classes == ("01", "NA")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_what_spreadsheets_write_is_read(tmp_path: Path, encoding: str, separator: str) -> None:
    lines = ["path,label", "1.png,a", "2.png,a", "", '3.png,"b"', "4.png,b", ""]
    made = read_manifest(table(tmp_path, "\r\n".join(lines).replace(",", separator), encoding))
    assert made.counts() == {"a": 2, "b": 2}


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    text = "file,label,diagnosis,patient\n1.png,x,a,p\n2.png,x,a,p\n3.png,y,b,q\n4.png,y,b,q\n"
    made = read_manifest(
        table(tmp_path, text), path_column="file", label_column="diagnosis", group_column="patient"
    )
    assert made.classes == ("a", "b")
    assert made.group_count() == 2
    assert made.table["label_original"].tolist() == ["x", "x", "y", "y"]


def rows(*more: str) -> str:
    return "".join(f"{i}.png,{'aabb'[i]}{''.join(more)}\n" for i in range(4))


@pytest.mark.parametrize(
    ("header", "more", "options", "further"),
    [
        ("path,split", "", {"label_column": "split"}, {}),
        ("path,group", "", {"label_column": "group"}, {}),
        ("split,label", "", {"path_column": "split"}, {}),
        (
            "file,diagnosis,path",
            ",x",
            {"path_column": "file", "label_column": "diagnosis"},
            {"path_original": "x"},
        ),
        (
            "path,diagnosis,label_original,label",
            ",x,y",
            {"label_column": "diagnosis"},
            {"label_original": "x", "label_original_original": "y"},
        ),
        (
            "path,label,sha256,width,height,fold_0,photo",
            ",none,3 cm,inf,left,yes",
            {},
            {
                "sha256_original": "none",
                "width_original": "3 cm",
                "height_original": "inf",
                "fold_0_original": "left",
                "photo_original": "yes",
            },
        ),
    ],
)
def test_columns_in_two_roles_or_called_like_ours_are_kept_apart(
    tmp_path: Path, header: str, more: str, options: dict, further: dict[str, str]
) -> None:
    made = read_manifest(table(tmp_path, f"{header}\n{rows(more)}"), **options)
    assert made.counts() == {"a": 2, "b": 2}
    assert [Path(path).name for path in made.table["path"]] == [f"{i}.png" for i in range(4)]
    assert made.splits == ()
    assert (made.group_count(), set(made.table["sha256"]), set(made.table["width"])) == (4, {""}, {0})
    for name, value in further.items():
        assert set(made.table[name]) == {value}


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"label_column": "path"}, "--path-column and --label-column"),
        ({"group_column": "label"}, "--label-column and --group-column"),
        ({"path_column": "label"}, "--path-column and --label-column"),
        ({"split_column": "site", "group_column": "site"}, "--group-column and --split-column"),
    ],
)
def test_a_column_that_is_wanted_twice_is_one_clear_line(tmp_path: Path, options: dict, flags: str) -> None:
    with pytest.raises(ExciteError, match="name the same column") as caught:
        read_manifest(table(tmp_path, f"path,label,site\n{rows(',s')}"), **options)
    assert flags in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_saved_manifest_with_an_edited_size_is_read(tmp_path: Path) -> None:
    made = read_manifest(table(tmp_path, f"path,label\n{rows()}")).with_columns(width=7)
    made.save(tmp_path / "saved.csv")
    text = (tmp_path / "saved.csv").read_text().replace(",7,", ",1e9,", 1)
    (tmp_path / "saved.csv").write_text(text)
    assert read_manifest(tmp_path / "saved.csv").table["width"].tolist() == [0, 7, 7, 7]


def test_splits_in_a_table_go_by_many_names(tmp_path: Path) -> None:
    parts = ["training_set", "Training Set", "dev", "dev", "hold-out", "hold-out"]
    text = "".join(f"{i}.png,{'ab'[i % 2]},{part}\n" for i, part in enumerate(parts))
    made = read_manifest(table(tmp_path, "path,label,split\n" + text))
    assert made.table["split"].tolist() == ["train", "train", "val", "val", "test", "test"]


def test_paths_and_labels_in_either_unicode_form(tmp_path: Path) -> None:
    touch(tmp_path, "cafe\u0301/1.png", "cafe\u0301/2.png", "tea/1.png", "tea/2.png")
    text = (
        "path,label\ncaf\u00e9/1.png,caf\u00e9\ncafe\u0301/2.png,cafe\u0301\ntea/1.png,tea\ntea/2.png,tea\n"
    )
    made = read_manifest(table(tmp_path, text))
    assert made.counts() == {"caf\u00e9": 2, "tea": 2}
    assert all(Path(path).is_file() for path in made.table["path"])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is an empty file"),
        ("path,label\n", {}, "has a header but no rows"),
        ("file,label\n1.png,a\n", {}, "has no column 'path'; the columns are: file, label"),
        ("path,labels\n1.png,a\n", {}, "has no column 'label'.*did you mean 'labels'.*--label-column"),
        ("path,label\n1.png,a\n", {"group_column": "patient"}, "has no column 'patient'"),
        ("path,label\n1.png,a\n2.png\n", {}, "line 3 has 1 fields, the header has 2"),
        ('path,label\n1.png,"a\n', {}, "is not a valid CSV file"),
        ("path,label\n1.png,a\nx/../1.png,b\n", {}, "listed more than once, the first is .*1.png"),
        ("path,label\n1.png,a\n,b\n", {}, "1 of 2 rows have no path, the first is row 2"),
        ("path,label\n1.png,\n2.png,b\n", {}, "1 of 2 rows have no label, the first is row 1"),
        ("path,label,split\n1.png,a,trian\n", {}, "unknown split 'trian'.*did you mean 'train'"),
        ("path,label,path\n1.png,a,b\n", {}, "two columns of the same name"),
        ("path,label\n1.png,a\n2.png,a\n", {}, "at least two classes"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(
    tmp_path: Path, text: str, options: dict, message: str
) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        read_manifest(table(tmp_path, text), **options)
    assert "\n" not in str(caught.value)


def test_a_table_in_another_encoding_or_an_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match="is not a CSV file in UTF-8"):
        read_manifest(table(tmp_path, "path,label\n1.png,Käfer\n", "latin-1"))
    (tmp_path / "data.zip").write_bytes(b"PK\x03\x04\xff\xfe\x00\x99")
    with pytest.raises(ExciteError, match="is damaged or incomplete"):
        read_manifest(tmp_path / "data.zip")
    (tmp_path / "data.zip").rename(tmp_path / "data.csv")
    with pytest.raises(ExciteError, match="unpack an archive first"):
        read_manifest(tmp_path / "data.csv")


def test_column_names_for_a_folder_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png")
    with pytest.raises(ExciteError, match="'patient' has no effect: the data is a folder") as caught:
        read_manifest(tmp_path, group_column="patient")
    assert caught.value.exit_code == 2


def test_the_digits_are_scikit_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path))
    made = read_manifest("digits")
    digits = load_digits()
    assert len(made) == len(digits.target) == 1797
    for path, label in zip(made.table["path"][::97], made.table["label"][::97], strict=True):
        index = int(Path(path).stem)
        assert int(label) == digits.target[index]
        pixels = np.asarray(Image.open(path))
        assert pixels.shape == (8, 8)
        assert np.abs(pixels - digits.images[index] * 255 / 16).max() <= 0.5
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.png")}
    read_manifest("digits")
    assert stamps == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.png")}


def test_a_real_folder_with_train_and_val(real_data: Path) -> None:
    made = read_manifest(real_data / "hymenoptera")
    assert (len(made.part("train")), len(made.part("val"))) == (245, 153)
    assert made.classes == ("ants", "bees")


def test_a_column_without_a_name_survives_saving(tmp_path: Path) -> None:
    rows = "".join(f"{number},{number}.png,{'ab'[number % 2]},u\n" for number in range(4))
    (tmp_path / "t.csv").write_text(",path,label,unnamed\n" + rows)
    read_manifest(tmp_path / "t.csv").save(tmp_path / "saved.csv")
    table = read_manifest(tmp_path / "saved.csv").table
    assert table["unnamed_original"].tolist() == ["0", "1", "2", "3"]
    assert set(table["unnamed"]) == {"u"}


def test_a_group_is_one_in_either_unicode_form_and_with_spaces(tmp_path: Path) -> None:
    names = ["M\u00fcller", "Mu\u0308ller", " M\u00fcller", "M\u00fcller "]
    rows = "".join(f"{number}.png,{'ab'[number % 2]},{name}\n" for number, name in enumerate(names))
    (tmp_path / "t.csv").write_text("path,label,group\n" + rows, encoding="utf-8")
    assert read_manifest(tmp_path / "t.csv").group_count() == 1


def test_the_cache_is_neither_read_nor_written_among_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "data", "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    touch(tmp_path / "elsewhere/c", "1.png", "2.png")
    (tmp_path / "data/c").symlink_to("../elsewhere/c")
    (tmp_path / "flat").symlink_to("elsewhere/c")
    for inside in ("data/cache", "data/a/cache", "data/.cache", "data/c/cache", "elsewhere/c/cache"):
        monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / inside))
        for read in (read_manifest, read_images):
            with pytest.raises(ExciteError, match="the cache folder is inside the data"):
                read(tmp_path / "data")
        assert not (tmp_path / inside).exists()
    with pytest.raises(ExciteError, match="the cache folder is inside the data"):
        read_images(tmp_path / "flat")
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "elsewhere/cache"))
    assert len(read_manifest(tmp_path / "data")) == 6
    assert len(read_manifest("digits")) > 1000
