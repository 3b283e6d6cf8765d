"""A dataset's parts come into place from wherever they are, or it is said what is missing and where it was once."""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from vreid.__main__ import main
from vreid.errors import InputError
from vreid.fetch.place import fetch

INFO = ["train_name.txt", "test_name.txt", "tracks_train_info.mat", "tracks_test_info.mat", "query_IDX.mat"]
ANNOTATIONS = b"person_id,camera_id\n1,1\n"
ORIGIN = {
    "terms": "MARS is for academic use only.",
    "parts": {
        "bbox_train": {"from": "bbox_train.zip of the authors' page"},
        "mars_attributes.csv": {"from": "the annotations", "sha256": hashlib.sha256(ANNOTATIONS).hexdigest()},
    },
}


def zipped(path: Path, *names: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, content_of(name))
    return path


def content_of(name: str) -> bytes:
    return ANNOTATIONS if name.endswith(".csv") else Path(name).name.encode()


def grown(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content_of(name))
    return folder


SIDES = ("bbox_train", "bbox_test")
TRAIN, TEST = "0001/0001C1T0001F001.jpg", "0002/0002C1T0001F001.jpg"
INFOS = [f"info/{name}" for name in INFO]
WHOLE = [f"bbox_train/{TRAIN}", f"bbox_test/{TEST}", *INFOS, "mars_attributes.csv"]


@pytest.fixture
def place(tmp_path):
    """`place(*sources)` fetches into tmp_path/mars; what is there afterwards, by name."""

    def fetched(*sources, layout="mars", name="mars_attributes.csv", origin=ORIGIN):
        root = tmp_path / "mars"
        fetch(layout, root, root / name, list(map(str, sources)), origin, tmp_path / "record.json")
        return root

    return fetched


def assert_whole(root: Path, names=WHOLE) -> None:
    """Also through links."""
    found = {
        path.relative_to(root).as_posix() for pattern in ("*", "*/*", "*/*/*", "*/*/*/*") for path in root.glob(pattern)
    }
    assert {name for name in found if (root / name).is_file()} - {"fetched.json"} == set(names)
    assert all((root / name).read_bytes() == content_of(name) for name in names)


@pytest.mark.parametrize(
    "train",
    [
        f"bbox_train/{TRAIN}",
        f"MARS/bbox_train/{TRAIN}",
        f"bbox_train/bbox_train/{TRAIN}",
        TRAIN,
        f"a/b/c/d/e/f/bbox_train/{TRAIN}",
    ],
    ids=["as it is", "in a folder", "in itself", "bare", "deep down"],
)
def test_archives_as_people_have_them(train, place, tmp_path):
    at = tmp_path / "archives"
    sources = [
        zipped(at / "bbox_train.zip", train, "__MACOSX/bbox_train/._x"),
        zipped(at / "test.zip", f"some/where/bbox_test/{TEST}"),
        zipped(at / "MARS-evaluation-master.zip", *(f"MARS-evaluation-master/info/{name}" for name in INFO)),
        grown(at, "mars_attributes.csv") / "mars_attributes.csv",
    ]
    before = {path: path.read_bytes() for path in sources}
    root = place(*sources)
    assert_whole(root)
    assert {path: path.read_bytes() for path in sources} == before
    assert not (root / ".fetching").exists()
    noted = json.loads((root / "fetched.json").read_text())
    assert {name: part["from"] for name, part in noted.items() if "/" not in name} == {
        "bbox_train": str(sources[0]),
        "bbox_test": str(sources[1]),
        "mars_attributes.csv": str(sources[3]),
    }
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["mars_attributes.csv"] == hashlib.sha256(ANNOTATIONS).hexdigest()
    assert set(record) == {*INFOS, "mars_attributes.csv", "bbox_train", "bbox_test"}
    assert record["bbox_train"]["files"] == 1 and record["bbox_train"]["bytes"] == len(
        content_of(f"bbox_train/{TRAIN}")
    )


OTHER = "0009/0009C1T0001F001.jpg"


def test_the_pieces_of_an_archive_are_unpacked_as_one(place, tmp_path):
    """As cloud drives give a large folder away; each piece alone would pass for the whole."""
    stem = "bbox_train-20240229T101010Z"
    first = zipped(tmp_path / f"{stem}-001.zip", f"bbox_train/{TRAIN}")
    last = zipped(tmp_path / f"{stem}-002.zip", f"bbox_train/{OTHER}")
    rest = zipped(tmp_path / "rest.zip", *WHOLE[1:])
    root = place(first, last, rest)
    assert_whole(root, [*WHOLE, f"bbox_train/{OTHER}"])
    noted = json.loads((root / "fetched.json").read_text())["bbox_train"]
    assert noted["archive_bytes"] == first.stat().st_size + last.stat().st_size


def test_pieces_may_stand_apart_in_the_list_or_lie_in_a_folder(place, tmp_path):
    first = zipped(tmp_path / "held/bbox_train-001.zip", f"bbox_train/{TRAIN}")
    last = zipped(tmp_path / "held/bbox_train-002.zip", f"bbox_train/{OTHER}")
    rest = zipped(tmp_path / "rest.zip", *WHOLE[1:])
    assert_whole(place(last, rest, first), [*WHOLE, f"bbox_train/{OTHER}"])
    shutil.rmtree(tmp_path / "mars")
    assert_whole(place(tmp_path / "held", rest), [*WHOLE, f"bbox_train/{OTHER}"])


@pytest.mark.parametrize(
    ("numbers", "beside", "said"),
    [
        ((1, 3), (), "some before the last are missing"),
        ((2, 3), (), "some before the last are missing"),
        ((1,), (2,), r"MARS-002\.zip is another one; name it too"),
        ((2,), (1,), r"MARS-001\.zip is another one; name it too"),
    ],
)
def test_of_an_archive_in_pieces_all_must_be_given(numbers, beside, said, place, tmp_path):
    """Each alone would pass for the whole."""
    pieces = {n: zipped(tmp_path / f"MARS-{n:03d}.zip", *WHOLE) for n in (*numbers, *beside)}
    with pytest.raises(InputError, match=said):
        place(*(pieces[n] for n in numbers))
    assert not (tmp_path / "mars/bbox_train").exists()


def test_an_archive_whose_name_ends_in_a_number_is_one(place, tmp_path):
    assert_whole(place(zipped(tmp_path / "MARS-256.zip", *WHOLE)))


def test_pieces_that_hold_the_same_are_refused(place, tmp_path):
    pieces = [zipped(tmp_path / f"MARS-00{number}.zip", *WHOLE) for number in (1, 2)]
    with pytest.raises(InputError, match=f"MARS-002.zip: 'bbox_train/{TRAIN}' stands in it twice"):
        place(*pieces)
    assert not (tmp_path / "mars/bbox_train").exists()


def test_a_second_address_of_the_same_archive_is_no_piece_of_it(place, tmp_path):
    sources = [zipped(tmp_path / folder / "MARS-001.zip", *WHOLE) for folder in ("here", "there")]
    assert_whole(place(*sources))


def test_archives_may_lie_in_a_folder(place, tmp_path):
    held = grown(tmp_path / "held", *WHOLE[1:])
    zipped(held / "more/bbox_train.zip", TRAIN)
    (held / "more/bbox_train.txt").write_text("not this one")
    root = place(held)
    assert_whole(root)
    assert not (root / "bbox_train").is_symlink() and (root / "bbox_test").is_symlink()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_may_lie_in_an_archive(kind, place, tmp_path):
    """In a tar, the last of them makes a zip of it, by its end."""
    names = ["mars_attributes.csv", *INFOS]
    inner = [zipped(tmp_path / f"{side}.zip", f"{side}/{name}") for side, name in zip(SIDES, (TRAIN, TEST))]
    inner.append(zipped(tmp_path / "info.zip", *names))
    outer = tmp_path / f"MARS.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(outer, "w") as archive:
            for path in inner:
                archive.write(path, f"MARS/{path.name}")
    else:
        with tarfile.open(outer, "w") as archive:
            for path in inner:
                archive.add(path, f"MARS/{path.name}")
        assert zipfile.is_zipfile(outer)
    root = place(outer)
    assert_whole(root)
    assert not (root / ".fetching").exists()


def test_archives_are_looked_into_no_deeper_than_two(place, tmp_path):
    """Else one that holds itself would have no end."""
    path = zipped(tmp_path / "deepest/bbox_train.zip", f"bbox_train/{TRAIN}")
    for number in range(2):
        outer = tmp_path / str(number) / "bbox_train.zip"
        outer.parent.mkdir()
        with zipfile.ZipFile(outer, "w") as archive:
            archive.write(path, "bbox_train.zip")
        path = outer
    rest = zipped(tmp_path / "rest.zip", *WHOLE[1:])
    assert_whole(place(tmp_path / "0/bbox_train.zip", rest))
    shutil.rmtree(tmp_path / "mars")
    with pytest.raises(InputError, match=r"these parts are missing:\n.*bbox_train"):
        place(path, rest)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives_as_programs_make_them_of_a_folder(kind, place, tmp_path):
    """With entries of their own for folders, and names from `./` on."""
    held = grown(tmp_path / "held", *WHOLE)
    if kind == "zip":
        made = shutil.make_archive(tmp_path / "MARS", "zip", held)
        assert any(name.endswith("/") for name in zipfile.ZipFile(made).namelist())
    else:
        made = shutil.make_archive(tmp_path / "MARS", {"tar": "tar", "tar.gz": "gztar"}[kind], held)
        with tarfile.open(made) as archive:
            assert archive.getnames()[0] == "." and any(member.isdir() for member in archive)
    assert_whole(place(made))


def test_a_folder_is_linked_and_not_touched(place, tmp_path):
    held = grown(tmp_path / "held", *WHOLE)
    root = place(held)
    assert_whole(root)
    assert (root / "bbox_train").is_symlink() and not (root / "info").is_symlink()
    assert_whole(held)


def test_a_folder_may_be_a_part_itself(place, tmp_path):
    held = grown(tmp_path / "held", *WHOLE)
    parts = [held / "bbox_train", held / "bbox_test", held / "info", held / "mars_attributes.csv"]
    assert_whole(place(*parts))


def test_duke_comes_in_one_archive(place, tmp_path):
    frame = "0001/0001/0001_C1_F0001_X00001.jpg"
    names = [f"{side}/{frame}" for side in ("train", "query", "gallery")]
    archive = zipped(tmp_path / "DukeMTMC-VideoReID.zip", *(f"DukeMTMC-VideoReID/{name}" for name in names))
    csv = grown(tmp_path / "held", "duke_attributes.csv") / "duke_attributes.csv"
    root = place(archive, csv, layout="duke", name="duke_attributes.csv", origin={})
    assert_whole(root, [*names, "duke_attributes.csv"])


def test_what_is_in_place_is_left_and_needs_no_source(place, tmp_path):
    root = grown(tmp_path / "mars", *WHOLE)
    (root / "bbox_test" / "mine").write_text("")
    before = sorted(root.rglob("*"))
    place(tmp_path / "no-such.zip")
    assert sorted(root.rglob("*")) == before


def test_the_record_is_the_same_however_the_data_came(place, tmp_path):
    held = grown(tmp_path / "held", *WHOLE)
    place(held)
    before = (tmp_path / "record.json").read_bytes()
    shutil.rmtree(tmp_path / "mars")
    place(zipped(tmp_path / "held.zip", *WHOLE))
    assert (tmp_path / "record.json").read_bytes() == before


def test_the_root_may_be_a_link(place, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "mars").symlink_to(tmp_path / "disk")
    assert_whole(place(zipped(tmp_path / "held.zip", *WHOLE)))
    assert (tmp_path / "disk" / "bbox_train").is_dir()


def test_a_link_that_leads_back_is_looked_into_once(place, tmp_path):
    root = place(grown(tmp_path / "held", *WHOLE))
    before = (tmp_path / "record.json").read_bytes()
    (tmp_path / "held/bbox_train/again").symlink_to(tmp_path / "held/bbox_train")
    place()
    assert (root / "bbox_train/again" / TRAIN).exists() and (tmp_path / "record.json").read_bytes() == before


def test_a_folder_without_people_is_not_the_part(place, tmp_path):
    """As the query folder of an image dataset is called like that of a video dataset."""
    held = zipped(tmp_path / "images.zip", "bbox_train/0001_c1_f1.jpg", f"more/bbox_train/{TRAIN}", *WHOLE[1:])
    assert_whole(place(held))


def test_a_part_that_another_process_fetches_is_left_to_it(place, tmp_path):
    code = "import sys, time; from vreid.locks import only_writer; from pathlib import Path\n"
    code += "with only_writer(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code, str(tmp_path / "mars/.fetching")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        try:
            with pytest.raises(InputError, match="is writing here; wait until it is done"):
                place(grown(tmp_path / "held", *WHOLE))
        finally:
            other.kill()
    assert not (tmp_path / "mars/bbox_train").exists()


@pytest.mark.parametrize("moment", [1, len(WHOLE) + 2, len(WHOLE) + 4])  # all names are checked before any is written
def test_a_fetch_that_was_killed_while_unpacking_is_done_again(moment, place, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def dying(*_, calls=[0]):  # noqa: B006
        calls[0] += 1
        if calls[0] == moment:
            raise Killed

    held = zipped(tmp_path / "held.zip", *WHOLE)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("vreid.fetch.archive._checked", lambda name, _: (dying(), name)[1])
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # who is killed clears nothing up
        place(held)
    written = [path for path in (tmp_path / "mars/.fetching").rglob("*") if path.is_file()]
    assert bool(written) == (moment > len(WHOLE))
    assert not (tmp_path / "mars/bbox_test").exists()
    assert_whole(place(held))


def test_an_empty_folder_is_not_in_place(place, tmp_path):
    (tmp_path / "mars/bbox_train").mkdir(parents=True)
    assert_whole(place(grown(tmp_path / "held", *WHOLE)))


def test_all_that_is_missing_is_said_with_where_it_was(place, tmp_path):
    archive = zipped(tmp_path / "held" / "half.zip", f"bbox_test/{TEST}", *INFOS)
    with pytest.raises(InputError) as error:
        place(archive)
    said = str(error.value)
    assert f"looked in {archive}" in said
    assert f"{tmp_path}/mars/bbox_train, which came from bbox_train.zip of the authors' page" in said
    assert f"{tmp_path}/mars/mars_attributes.csv, which came from the annotations" in said
    assert "bbox_test" not in said and "academic use only" in said
    assert (tmp_path / "mars/bbox_test" / TEST).exists() and not (tmp_path / "record.json").exists()


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda path: path.unlink(), "no such archive, folder or file"),
        (lambda path: path.write_bytes(b""), "neither a whole zip or tar archive nor one of the parts"),
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), "neither a whole zip or tar archive"),
        (lambda path: zipped(path, f"bbox_train/{TRAIN}", "../escape"), "outside its folder"),
        (lambda path: zipped(path, f"a/bbox_train/{TRAIN}", f"b/bbox_train/{TRAIN}"), "stands in it twice"),
    ],
)
def test_a_bad_archive_leaves_nothing_and_spoils_nothing(spoil, said, place, tmp_path):
    path = zipped(tmp_path / "held" / "train.zip", f"bbox_train/{TRAIN}")
    spoil(path)
    with pytest.raises(InputError, match=said) as error:
        place(path)
    assert "these parts are missing" in str(error.value)  # and where they came from once
    left = [path for path in (tmp_path / "mars").rglob("*") if path.name != ".fetching"]
    assert not left and not (tmp_path / "escape").exists()


def test_a_file_that_is_not_the_published_one_is_refused(place, tmp_path):
    held = grown(tmp_path / "held", *WHOLE)
    (held / "mars_attributes.csv").write_bytes(ANNOTATIONS + b"2,1\n")
    with pytest.raises(InputError, match=r"mars_attributes\.csv: its SHA-256 is"):
        place(held)
    assert not (tmp_path / "mars/mars_attributes.csv").exists()


def test_an_archive_can_have_a_digest(tmp_path):
    archive = zipped(tmp_path / "all.zip", *WHOLE)
    root, entry = tmp_path / "mars", {"from": str(archive), "sha256": "00"}
    arguments = ("mars", root, root / "mars_attributes.csv")
    with pytest.raises(InputError, match="SHA-256"):
        fetch(*arguments, [entry], {}, tmp_path / "record.json")
    entry["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
    fetch(*arguments, [entry], {}, tmp_path / "record.json")
    assert_whole(root)


def test_a_file_in_place_that_is_not_the_published_one_is_refused(place, tmp_path):
    root = grown(tmp_path / "mars", *WHOLE)
    (root / "mars_attributes.csv").write_bytes(ANNOTATIONS + b"2,1\n")
    with pytest.raises(InputError, match=r"mars_attributes\.csv: its SHA-256 is"):
        place()


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    """Of a server of the folder `served`."""
    (tmp_path / "served").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_downloads_are_unpacked_and_thrown_away(address, place, tmp_path):
    """Two of them are called alike, as those of some archives of data are."""
    zipped(tmp_path / "served/train/content", f"bbox_train/{TRAIN}")
    zipped(tmp_path / "served/test/content", f"bbox_test/{TEST}", *INFOS)
    (tmp_path / "served/mars_attributes.csv").write_bytes(ANNOTATIONS)
    root = place(*(f"{address}/{name}" for name in ("train/content", "test/content", "mars_attributes.csv")))
    assert_whole(root)
    assert not (root / ".fetching").exists()


def test_a_dead_link_says_what_is_missing_and_keeps_no_other_source_from_being_asked(address, place, tmp_path):
    zipped(tmp_path / "served/rest.zip", *WHOLE[1:])
    with pytest.raises(InputError) as error:
        place(f"{address}/bbox_train.zip", f"{address}/rest.zip")
    said = str(error.value)
    assert "no such file any more (status 404)" in said
    assert "mars/bbox_train, which came from bbox_train.zip of the authors' page" in said and "academic use" in said
    assert (tmp_path / "mars/bbox_test" / TEST).exists()
    zipped(tmp_path / "served/bbox_train.zip", TRAIN)
    assert_whole(place(f"{address}/bbox_train.zip"))


@pytest.mark.parametrize("wrong", [b"torn", b"<html>log in</html>"])
@pytest.mark.parametrize("name", ["all.zip", "mars_attributes.csv"])
def test_a_bad_download_is_not_found_by_the_next_call(wrong, name, address, place, tmp_path):
    served = tmp_path / "served" / name
    served.write_bytes(wrong)
    grown(tmp_path / "mars", *WHOLE[:-1])
    with pytest.raises(InputError, match=name):
        place(f"{address}/{name}")
    served.write_bytes(ANNOTATIONS) if name.endswith("csv") else zipped(served, *WHOLE)
    assert_whole(place(f"{address}/{name}"))


def test_one_wrong_file_in_a_download_throws_nothing_away(address, tmp_path):
    """The other parts are in place and noted, and the archive is not fetched a second time."""
    served = zipped(tmp_path / "served/MARS.zip", *WHOLE)
    root, origin = tmp_path / "mars", {"parts": {"mars_attributes.csv": {"from": "there", "sha256": "0123"}}}
    for _ in range(2):
        with pytest.raises(InputError, match="SHA-256"):
            fetch("mars", root, root / "mars_attributes.csv", [f"{address}/MARS.zip"], origin, tmp_path / "r.json")
        served.unlink(missing_ok=True)
    assert (root / "bbox_train" / TRAIN).exists() and not (root / "mars_attributes.csv").exists()
    assert json.loads((root / "fetched.json").read_text())["bbox_train"]["from"] == f"{address}/MARS.zip"


def test_a_piece_that_is_wrong_takes_no_other_with_it(address, tmp_path):
    served, root = tmp_path / "served", tmp_path / "mars"
    first = zipped(served / "MARS-001.zip", *WHOLE[:1])
    (served / "MARS-002.zip").write_bytes(b"<html>Too many have asked for this file</html>")
    sources = [f"{address}/MARS-00{number}.zip" for number in (1, 2)]
    arguments = ("mars", root, root / "mars_attributes.csv", sources, ORIGIN, tmp_path / "record.json")
    with pytest.raises(InputError, match="a web page came"):
        fetch(*arguments)
    first.unlink()  # what has come is not asked for again
    zipped(served / "MARS-002.zip", *WHOLE[1:])
    fetch(*arguments)
    assert_whole(root)


@pytest.mark.parametrize("start", [b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd"])
def test_an_archive_of_another_kind_is_kept(start, address, tmp_path):
    """To fetch it again would not help."""
    served, root = tmp_path / "served/MARS.rar", tmp_path / "mars"
    served.write_bytes(start + b"and so on")
    arguments = ("mars", root, root / "mars_attributes.csv", [f"{address}/MARS.rar"], ORIGIN, tmp_path / "record.json")
    for _ in range(2):
        with pytest.raises(InputError, match="of a kind that is not unpacked here; unpack it by hand"):
            fetch(*arguments)
        served.unlink(missing_ok=True)


def test_a_digest_that_is_corrected_fetches_anew(address, tmp_path):
    served = zipped(tmp_path / "served/all.zip", *WHOLE)
    root, entry = tmp_path / "mars", {"from": f"{address}/all.zip", "sha256": "0" * 8}
    arguments = ("mars", root, root / "mars_attributes.csv")
    with pytest.raises(InputError, match="SHA-256"):
        fetch(*arguments, [entry], {}, tmp_path / "record.json")
    entry["sha256"] = hashlib.sha256(served.read_bytes()).hexdigest()
    fetch(*arguments, [entry], {}, tmp_path / "record.json")
    assert_whole(root)


def test_the_verb(tmp_path, capsys):
    held, root = grown(tmp_path / "held", *WHOLE), tmp_path / "mars"
    arguments = ["fetch", "--layout", "mars", "--root", str(root), "--attributes", str(root / "mars_attributes.csv")]
    out = ["--out", str(tmp_path / "record.json")]
    assert main([*arguments, "--sources", "[]", "--origin", json.dumps(ORIGIN), *out]) == 2
    assert "which came from" in capsys.readouterr().err
    assert main([*arguments, "--sources", json.dumps([str(held)]), *out]) == 0
    assert_whole(root)
