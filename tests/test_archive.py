"""Archives of every kind that would do harm, and of those that do none."""

import io
import itertools
import stat
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest

from vreid.errors import InputError
from vreid.fetch import archive
from vreid.fetch.archive import is_archive, unpack
from vreid.fetch.download import WrongFile

FILES = {
    "bbox_train/0001/a.jpg": b"one" * 50,
    "bbox_train/0001/b.jpg": b"two",
    "info/train_name.txt": b"a.jpg\n" * 5000,
}
KINDS = ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]


def packed(path: Path, files: dict[str, bytes]) -> Path:
    """An archive of the kind that the name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names that stand twice
            for name, content in files if isinstance(files, list) else files.items():
                archive.writestr(name, content)
        return path
    mode = "w:" + path.name.partition("tar")[2].removeprefix(".")
    with tarfile.open(path, mode) as archive:
        for name, content in files if isinstance(files, list) else files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def with_special_member(path: Path, kind: bytes, target: str = "/etc/passwd") -> Path:
    """An archive whose second member is a link or a device."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("first", b"harmless")
            member = zipfile.ZipInfo("second")
            member.create_system = 3
            mode = {tarfile.SYMTYPE: stat.S_IFLNK, tarfile.CHRTYPE: stat.S_IFCHR, tarfile.FIFOTYPE: stat.S_IFIFO}[kind]
            member.external_attr = (mode | 0o777) << 16
            archive.writestr(member, target)
        return path
    with tarfile.open(path, "w") as archive:
        first = tarfile.TarInfo("first")
        archive.addfile(first, io.BytesIO())
        second = tarfile.TarInfo("second")
        second.type, second.linkname = kind, target
        archive.addfile(second)
        archive.addfile(tarfile.TarInfo("second/through-the-link"), io.BytesIO())
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_in_it_comes_out(kind, tmp_path):
    path = packed(tmp_path / f"mars.{kind}", FILES)
    assert is_archive(path)
    unpack(path, tmp_path / "out")
    assert tree(tmp_path / "out") == FILES


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", ["/tmp/vreid-escape", "../escape", "a/../../escape", "..\\escape", "C:/escape"])
def test_nothing_is_written_outside_its_folder(kind, name, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    path = packed(inner / f"evil.{kind}", {"harmless": b"1", name: b"2"})
    with pytest.raises(InputError, match="would be written outside its folder") as error:
        unpack(path, inner / "out")
    assert str(path) in str(error.value) and repr(name) in str(error.value)
    assert not Path("/tmp/vreid-escape").exists()
    assert set(tree(tmp_path)) <= {f"inner/evil.{kind}", "inner/out/harmless"}


SPECIAL = [tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]


@pytest.mark.parametrize(
    "kind, special", [*itertools.product(["zip", "tar"], SPECIAL), ("tar", tarfile.LNKTYPE)]
)  # a zip archive has no hard links
def test_links_and_devices_are_refused(kind, special, tmp_path):
    path = with_special_member(tmp_path / f"evil.{kind}", special)
    with pytest.raises(InputError, match="'second' is a link or a device"):
        unpack(path, tmp_path / "out")
    assert set(tree(tmp_path)) <= {path.name, "out/first"}
    assert not (tmp_path / "out/second").exists()


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_a_bomb_is_stopped_before_it_fills_the_disk(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "SLACK", 1000)
    path = packed(tmp_path / f"bomb.{kind}", {"zeros": bytes(20_000_000)})
    with pytest.raises(InputError, match="it unpacks to more than"):
        unpack(path, tmp_path / "out")
    written = sum(map(len, tree(tmp_path / "out").values()))
    assert written <= 100 * path.stat().st_size + archive.SLACK


def test_a_zip_with_a_name_that_is_no_text_is_torn(tmp_path):
    path = packed(tmp_path / "names.zip", {"a\u00e9": b"content"})
    content = path.read_bytes()
    assert content.count("a\u00e9".encode()) == 2
    path.write_bytes(content.replace("a\u00e9".encode(), b"a\xff\xff"))
    with pytest.raises(InputError, match="torn"):
        unpack(path, tmp_path / "out")


def test_a_zip_that_lies_about_a_size_is_torn(tmp_path):
    path = packed(tmp_path / "liar.zip", {"zeros": bytes(5000)})
    content = path.read_bytes()
    assert content.count(struct.pack("<I", 5000)) == 2
    path.write_bytes(content.replace(struct.pack("<I", 5000), struct.pack("<I", 50)))
    with pytest.raises(InputError, match="torn"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_more_files_than_any_dataset_has_are_refused(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_MEMBERS", 9)
    path = packed(tmp_path / f"inodes.{kind}", {f"{number}.jpg": b"" for number in range(10)})
    with pytest.raises(InputError, match="more than 9 files"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_wanted_is_written_but_nothing_is_trusted(kind, tmp_path):
    path = packed(tmp_path / f"mars.{kind}", FILES)
    unpack(path, tmp_path / "out", lambda name: name.startswith("info/"))
    assert set(tree(tmp_path / "out")) == {"info/train_name.txt"}
    path = packed(tmp_path / f"evil.{kind}", FILES | {"../escape": b""})
    with pytest.raises(InputError, match="outside its folder"):
        unpack(path, tmp_path / "more", lambda name: name.startswith("info/"))


def test_what_has_no_room_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    path = packed(tmp_path / "large.zip", FILES)
    with pytest.raises(InputError, match=r"100 bytes are free in .*, and it has more"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("kind", KINDS)
def test_a_torn_archive_is_said_to_be_torn(kind, tmp_path):
    path = packed(tmp_path / f"torn.{kind}", {f"{i}.jpg": bytes([i, 7 * i % 256]) * 999 for i in range(99)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="torn"):
        unpack(path, tmp_path / "out")


def test_a_zip_with_a_wrong_byte_is_torn(tmp_path):
    path = packed(tmp_path / "wrong.zip", {"a.jpg": b"x"})
    content = bytearray(path.read_bytes())
    content[content.index(b"a.jpg") + 5] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match="torn"):
        unpack(path, tmp_path / "out")


def test_an_encrypted_zip_is_for_hands(tmp_path):
    path = packed(tmp_path / "secret.zip", {"a.jpg": b"x"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # the flag in the directory
    path.write_bytes(content)
    with pytest.raises(InputError, match="encrypted; unpack it by hand"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("second", ["a/b.jpg", "a", "a/b.jpg/c"])
def test_two_members_do_not_share_a_place(kind, second, tmp_path):
    path = packed(tmp_path / f"twice.{kind}", [("a/b.jpg", b"1"), (second, b"2")])
    with pytest.raises(InputError, match="stands in it twice"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("content", [b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x00", b"\x28\xb5\x2f\xfd"])
def test_an_archive_of_another_kind_is_said_to_be_one(content, tmp_path):
    (tmp_path / "what").write_bytes(content)
    with pytest.raises(InputError, match="of a kind that is not unpacked here") as caught:
        is_archive(tmp_path / "what")
    assert not isinstance(caught.value, WrongFile)


def test_a_zip_of_an_unknown_method_is_said_to_be_one(tmp_path):
    path = packed(tmp_path / "new.zip", {"a": b"content"})
    content = path.read_bytes()
    method = struct.pack("<H", zipfile.ZIP_DEFLATED)
    central = content.index(b"PK\x01\x02")
    assert content[8:10] == content[central + 10 : central + 12] == method
    unknown = struct.pack("<H", 93)
    path.write_bytes(content[:8] + unknown + content[10 : central + 10] + unknown + content[central + 12 :])
    with pytest.raises(InputError, match="of a kind that is not unpacked here") as caught:
        unpack(path, tmp_path / "out")
    assert not isinstance(caught.value, WrongFile)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff"])
def test_what_is_no_archive_is_refused(content, tmp_path):
    path = tmp_path / "what"
    path.write_bytes(content)
    assert not is_archive(path)
    with pytest.raises(InputError, match="no archive of a kind that is known"):
        unpack(path, tmp_path / "out")
