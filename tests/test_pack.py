"""A pack holds the frames of a split as they are, and says so when it does not."""

import mmap
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vreid.__main__ import main
from vreid.data.frames import FrameReader
from vreid.data.pack import HEADER, INDEX, MAGIC, Pack, Packs, key_of, pack
from vreid.data.tracklets import COLUMNS, expand_frames, write_tracklets
from vreid.errors import InputError

ROWS = [
    ["train", 1, 1, 1, 3, "bbox_train/0001/0001C1T0001F{001..003}.jpg"],
    ["query", 2, 1, 1, 2, "bbox_test/0002/0002C1T0001F{001..002}.jpg"],
    ["gallery", 2, 2, 1, 1, "bbox_test/0002/0002C2T0001F001.jpg"],
    ["junk", -1, 2, 1, 1, "bbox_test/00-1/00-1C2T0001F001.jpg"],
]


@pytest.fixture
def dataset(tmp_path):
    """The root of a dataset with an index beside it; every frame differs from the others."""
    root = tmp_path / "mars"
    for number, name in enumerate(all_names()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 32), (37 * number % 256, 99, 5 * number)).save(root / name)
    write_tracklets(pd.DataFrame(ROWS, columns=COLUMNS), tmp_path / "tracklets.csv.gz")
    return root


def all_names(*splits: str) -> list[str]:
    return [name for split, *_, template in ROWS if not splits or split in splits for name in expand_frames(template)]


def packed(root, split="train"):
    out = root.parent / "packs" / f"{split}.pack"
    pack(root.parent / "tracklets.csv.gz", root, split, out)
    return out


@pytest.mark.parametrize("split, splits", [("train", ["train"]), ("test", ["query", "gallery", "junk"])])
def test_the_bytes_of_every_frame_come_back_untouched(split, splits, dataset):
    before = {name: (dataset / name).read_bytes() for name in all_names()}
    path = packed(dataset, split)
    found, names = Pack(path), all_names(*splits)
    assert len(found) == len(names)
    assert {name: found.read(found.find(name)).tobytes() for name in names} == {name: before[name] for name in names}
    assert {name: (dataset / name).read_bytes() for name in all_names()} == before


def test_frames_lie_tracklet_after_tracklet_as_they_are_read(dataset):
    path, names = packed(dataset, "test"), all_names("query", "gallery", "junk")
    assert path.read_bytes()[HEADER.size :].startswith(b"".join((dataset / name).read_bytes() for name in names))


def test_a_reader_finds_packs_where_they_lie_and_sees_the_same_pixels(dataset):
    folder = packed(dataset, "train").parent
    packed(dataset, "test")
    names = all_names()
    assert (FrameReader(folder, 32, 16)(names) == FrameReader(dataset, 32, 16)(names)).all()
    with pytest.raises(InputError, match=r"train\.pack: there is no frame bbox_train/0009.jpg; pack the dataset again"):
        FrameReader(folder, 32, 16)(["bbox_train/0009.jpg"])


def test_what_a_batch_needs_is_asked_of_the_disk_at_once(dataset, monkeypatch):
    folder, asked = packed(dataset, "train").parent, []
    monkeypatch.setattr(Pack, "prefetch", lambda self, place: asked.append(self.read(place).tobytes()))
    reader, names = FrameReader(folder, 32, 16), all_names("train")
    reader(names[:2])
    reader(names)
    assert asked == [(dataset / name).read_bytes() for name in names]  # and none of those again that are kept


def test_the_pages_of_a_frame_are_asked_of_the_disk(dataset):
    """And of those that are in no pack, nothing."""
    for name in all_names("train"):
        (dataset / name).write_bytes((dataset / name).read_bytes() + bytes(3 * mmap.PAGESIZE + 100))
    packs, asked = Packs([packed(dataset)]), []
    (own,) = packs.packs
    own.mapped = SimpleNamespace(madvise=lambda *given: asked.append(given))
    packs.prefetch([*all_names("train"), "bbox_train/0009.jpg"])
    assert [option for option, *_ in asked] == [mmap.MADV_WILLNEED] * 3
    for name, (_, start, length) in zip(all_names("train"), asked, strict=True):
        begin = own.content.tobytes().index((dataset / name).read_bytes())
        assert start % mmap.PAGESIZE == 0 and start <= begin < start + mmap.PAGESIZE
        assert start + length == begin + (dataset / name).stat().st_size


def test_the_rule_goes_by_the_format(dataset):
    rules = Path(__file__).resolve().parent.parent / "workflow/rules/data.smk"
    assert f'format="{MAGIC.decode()}"' in rules.read_text()


def test_what_another_process_is_sent_is_the_path(dataset):
    packs = Packs([packed(dataset)])
    sent = pickle.dumps(packs)
    assert len(sent) < 500
    name = all_names("train")[1]
    assert (pickle.loads(sent)(name) == packs(name)).all()


def test_a_pack_of_nothing_is_one(dataset):
    write_tracklets(pd.DataFrame(ROWS[1:], columns=COLUMNS), dataset.parent / "tracklets.csv.gz")
    found = Pack(packed(dataset, "train"))
    assert len(found) == 0 and found.find("x") is None


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_frame_that_is_not_there_leaves_no_pack(spoil, dataset):
    path = dataset / all_names("train")[2]
    spoil(path)
    with pytest.raises(InputError) as error:
        packed(dataset)
    assert str(path) in str(error.value)
    assert not list((dataset.parent / "packs").iterdir())


def test_all_frames_that_are_wrong_are_counted_and_the_first_named(dataset):
    whole, tested = all_names(), all_names("query", "gallery", "junk")
    good = (dataset / whole[0]).read_bytes()
    for name in whole[1:]:
        (dataset / name).write_bytes(good[:-2])
    (dataset / whole[0]).write_bytes(good + bytes(9))  # what is added to the end of a whole one does no harm
    with pytest.raises(InputError) as error:
        packed(dataset, "test")
    said = str(error.value).splitlines()
    assert said[0].startswith(f"{dataset / tested[0]}: not a JPEG that can be decoded (Image is incomplete")
    assert len(said) == len(tested) + 1 and said[-1] == "unpack the dataset again, and index it"
    with pytest.raises(InputError) as error:
        packed(dataset, "train")
    assert str(dataset / whole[0]) not in str(error.value) and str(dataset / whole[1]) in str(error.value)
    assert not list((dataset.parent / "packs").iterdir())


def test_no_more_than_five_frames_that_are_wrong_are_named(dataset, monkeypatch):
    monkeypatch.setattr("vreid.data.pack.SHOWN", 1)
    tested = all_names("query", "gallery", "junk")
    for name in tested:
        (dataset / name).unlink()
    with pytest.raises(InputError) as error:
        packed(dataset, "test")
    assert str(error.value).splitlines()[1] == f"and {len(tested) - 1} more"


def test_a_frame_that_is_written_wrongly_is_found_before_the_pack_appears(dataset, monkeypatch):
    checks = SimpleNamespace(crc32=lambda frame: 1 if isinstance(frame, bytes) else 2)  # when written, when read
    monkeypatch.setattr("vreid.data.pack.zlib", checks)
    with pytest.raises(InputError, match="is damaged"):
        packed(dataset)
    assert not list((dataset.parent / "packs").iterdir())


def test_a_frame_that_stands_twice_is_refused(dataset, monkeypatch):
    monkeypatch.setattr("vreid.data.pack.key_of", lambda name: np.uint64(7))
    with pytest.raises(InputError, match="2 frames stand twice"):
        packed(dataset)


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda content: content[:-1], "not a whole pack"),
        (lambda content: content[:10], "not a whole pack"),
        (lambda content: b"", "not a whole pack"),
        (lambda content: b"another!" + content[8:], "not a whole pack"),
        (lambda content: content[:100] + b"?" + content[101:], "the frame at byte 24 is damaged"),
    ],
)
def test_a_torn_or_damaged_pack_is_said_to_be_so(spoil, said, dataset):
    path = packed(dataset)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=said) as error:
        Packs([path])(all_names("train")[0])
    assert str(path) in str(error.value) and "pack the dataset again" in str(error.value)


def test_a_pack_that_is_gone(tmp_path):
    with pytest.raises(InputError, match="there is no such pack"):
        Pack(tmp_path / "train.pack")


def test_keys_do_not_depend_on_the_process():
    code = "from vreid.data.pack import key_of; print(int(key_of('bbox_train/0001/a.jpg')))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(other) == int(key_of("bbox_train/0001/a.jpg"))


@pytest.mark.parametrize("size", range(100, 108))
def test_the_index_is_aligned_so_that_a_search_copies_nothing(size, dataset):
    path = dataset / all_names("train")[0]
    path.write_bytes(path.read_bytes() + bytes(size))
    found = Pack(packed(dataset))
    assert all(getattr(found, name).flags.aligned for name in INDEX)
    assert found.read(found.find(all_names("train")[0])).tobytes() == path.read_bytes()


def test_what_a_killed_call_left_is_no_pack_and_goes_with_the_next_call(dataset):
    folder = packed(dataset).parent
    (folder / ".4711.train.pack").write_bytes(b"half")
    assert FrameReader(folder, 32, 16)(all_names("train")).shape == (3, 3, 32, 16)
    packed(dataset)
    assert [path.name for path in folder.iterdir()] == ["train.pack"]


def test_the_verb(dataset, capsys):
    index = ["--index", str(dataset.parent / "tracklets.csv.gz"), "--split", "test"]
    out = dataset.parent / "test.pack"
    assert main(["pack", *index, "--root", str(dataset), "--out", str(out)]) == 0
    assert len(Pack(out)) == 4
    assert main(["pack", *index, "--root", str(dataset.parent), "--out", str(out)]) == 2
    assert "No such file" in capsys.readouterr().err
    assert len(Pack(out)) == 4
