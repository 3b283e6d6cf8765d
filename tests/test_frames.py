import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import decode_jpeg

from vreid.data import frames, jpeg
from vreid.data.frames import FrameReader
from vreid.errors import InputError

HEIGHT, WIDTH = 64, 32


@pytest.fixture
def smooth():
    """A picture that JPEG keeps almost as it is: (64, 32, 3)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([y * 3, x * 6, y + x], axis=2).astype(np.uint8)


@pytest.fixture
def root(tmp_path, smooth):
    folder = tmp_path / "bbox_train" / "0001"
    folder.mkdir(parents=True)
    Image.fromarray(smooth).save(folder / "good.jpg", quality=98)
    return tmp_path


GOOD = "bbox_train/0001/good.jpg"


def test_frames_are_channels_first_rgb_bytes(root, smooth):
    pair = FrameReader(root, HEIGHT, WIDTH)([GOOD, GOOD])
    assert pair.shape == (2, 3, HEIGHT, WIDTH) and pair.dtype == torch.uint8
    difference = pair[0].permute(1, 2, 0).numpy().astype(int) - smooth
    assert abs(difference).mean() < 2


def test_frames_come_in_the_order_of_their_names(root, smooth):
    Image.fromarray(255 - smooth).save(root / "negative.jpg", quality=98)
    reader = FrameReader(root, HEIGHT, WIDTH)
    assert torch.equal(reader(["negative.jpg", GOOD]), reader([GOOD, "negative.jpg"]).flip(0))


def test_frames_are_decoded_once_while_there_is_room(root, smooth, monkeypatch):
    Image.fromarray(255 - smooth).save(root / "negative.jpg", quality=98)
    monkeypatch.setattr(frames, "KEPT_BYTES", 3 * HEIGHT * WIDTH)
    monkeypatch.setattr(frames, "WORTH_KEEPING", 1)
    reader, decoded = FrameReader(root, HEIGHT, WIDTH), []
    monkeypatch.setattr(jpeg, "decode_jpeg", lambda *a, **k: decoded.append(1) or decode_jpeg(*a, **k))
    first, again = reader([GOOD, "negative.jpg", GOOD]), reader([GOOD, "negative.jpg", GOOD])
    assert torch.equal(first, again) and torch.equal(first[0], first[2])
    assert len(decoded) == 3  # the second frame, for which there was no room, twice


def test_frames_of_a_real_dataset_are_too_large_to_be_kept(root, monkeypatch):
    reader, decoded = FrameReader(root, 256, 128), []
    monkeypatch.setattr(jpeg, "decode_jpeg", lambda *a, **k: decoded.append(1) or decode_jpeg(*a, **k))
    reader([GOOD, GOOD])
    assert len(decoded) == 2


def test_a_grey_jpeg_becomes_rgb(root, smooth):
    Image.fromarray(smooth[:, :, 0]).save(root / "grey.jpg", quality=98)
    frame = FrameReader(root, HEIGHT, WIDTH)(["grey.jpg"])[0]
    assert frame.shape == (3, HEIGHT, WIDTH)
    assert torch.equal(frame[0], frame[1]) and torch.equal(frame[1], frame[2])


def test_a_print_s_four_inks_become_rgb(root, smooth):
    Image.fromarray(smooth).convert("CMYK").save(root / "print.jpg", quality=98)
    frame = FrameReader(root, HEIGHT, WIDTH)(["print.jpg"])[0]
    assert frame.shape == (3, HEIGHT, WIDTH)


@pytest.mark.parametrize("size", [(128, 64), (32, 16), (60, 40)])
def test_a_frame_of_another_size_is_resized(root, smooth, size):
    frame = FrameReader(root, *size)([GOOD])[0]
    assert frame.shape == (3, *size) and frame.dtype == torch.uint8
    expected = np.asarray(Image.open(root / GOOD).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    assert abs(frame.permute(1, 2, 0).numpy() - expected).max() <= 3


def test_what_falls_between_the_pixels_of_a_shrunk_frame_is_not_lost(root):
    lines = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    lines[::4] = 255
    Image.fromarray(lines).save(root / "lines.jpg", quality=98)
    frame = FrameReader(root, HEIGHT // 4, WIDTH // 4)(["lines.jpg"]).float()
    assert frame[:, :, 1:-1].min() > 50 and frame[:, :, 1:-1].max() < 80


def test_where_the_stored_size_is_known_another_one_is_an_error(root):
    assert FrameReader(root, 32, 16, stored_size=(HEIGHT, WIDTH))([GOOD]).shape == (1, 3, 32, 16)
    with pytest.raises(InputError, match=r"good\.jpg: the frame is 64×32 pixels, .* should be 256×128"):
        FrameReader(root, HEIGHT, WIDTH, stored_size=(256, 128))([GOOD])


def good_bytes(root) -> bytes:
    return (root / GOOD).read_bytes()


@pytest.mark.parametrize(
    "content, told",
    [
        (lambda good: b"", r"the frame is empty \(0 bytes\)"),
        (lambda good: b"\xff", "not a JPEG that can be decoded"),
        (lambda good: good[:100], "not a JPEG that can be decoded"),
        (
            lambda good: good[: len(good) // 2],
            r"not a JPEG that can be decoded \(Image is incomplete or truncated\)",
        ),
        (lambda good: good[:-2], "not a JPEG that can be decoded"),
        (lambda good: good[len(good) // 2 :], "not a JPEG that can be decoded"),
        (lambda good: b"<html>404</html>", r"not a JPEG that can be decoded \(Not a JPEG file"),
    ],
)
def test_a_frame_that_cannot_be_decoded_is_named_at_once(root, content, told):
    (root / "bad.jpg").write_bytes(content(good_bytes(root)))
    with pytest.raises(InputError, match=rf"{root}/bad\.jpg: {told}.*; unpack the dataset again") as caught:
        FrameReader(root, HEIGHT, WIDTH)([GOOD, "bad.jpg"])
    assert "\n" not in str(caught.value)


def test_a_png_that_is_called_jpg_is_refused(root, smooth):
    Image.fromarray(smooth).save(root / "bad.jpg", format="png")
    with pytest.raises(InputError, match=r"bad\.jpg: not a JPEG that can be decoded"):
        FrameReader(root, HEIGHT, WIDTH)(["bad.jpg"])


@pytest.mark.parametrize("name", ["bbox_train/0001/lost.jpg", "bbox_train/0001"])
def test_a_frame_that_is_not_there_is_named(root, name):
    with pytest.raises(InputError, match=rf"{root}/{name}: the frame cannot be read .*; index the dataset again"):
        FrameReader(root, HEIGHT, WIDTH)([name])
