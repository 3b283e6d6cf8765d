"""Which frames make a clip, which clips make a batch, and what augmentation does to them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng

import tiny
from vreid.data import clips
from vreid.data.frames import FrameReader
from vreid.data.tracklets import expand_frames
from vreid.errors import InputError
from vreid.spec import Augment, Clips, Spec, Training, Trunk

STILL = Augment(pad=0, flip=0.0, erase=0.0)
lengths = st.integers(1, 60)
clip_lengths = st.integers(1, 8)


# ---- which frames ----


@given(lengths, clip_lengths, st.integers(0, 1000))
def test_a_training_clip_is_of_successive_frames(length, frames, seed):
    order = np.arange(length)
    clip = clips.random_clip(order, Clips(frames=frames), default_rng(seed))
    assert clip.shape == (frames,)
    if length >= frames:
        assert (np.diff(clip) == 1).all() and clip[0] >= 0 and clip[-1] < length


def test_every_start_of_a_training_clip_is_drawn():
    rng = default_rng(0)
    starts = Counter(int(clips.random_clip(np.arange(6), Clips(frames=4), rng)[0]) for _ in range(300))
    assert set(starts) == {0, 1, 2}
    assert min(starts.values()) > 70


@given(st.integers(1, 7))
def test_a_tracklet_shorter_than_a_clip_is_padded_by_repetition(length):
    clip = clips.random_clip(np.arange(length), Clips(frames=8), default_rng(0))
    shown = Counter(clip.tolist())
    assert set(shown) == set(range(length))
    assert max(shown.values()) - min(shown.values()) <= 1


@given(lengths, clip_lengths)
def test_dense_clips_show_every_frame_once_but_for_the_padding_at_the_end(length, frames):
    found = clips.dense_clips(np.arange(length), Clips(frames=frames), most=1000)
    shown = found.ravel().tolist()
    assert found.shape == (-(-length // frames), frames)
    assert shown[:length] == list(range(length))
    assert set(shown[length:]) <= {length - 1}


@given(lengths, clip_lengths, st.integers(1, 5))
def test_of_a_long_tracklet_clips_at_even_distances_are_tested(length, frames, most):
    every = clips.dense_clips(np.arange(length), Clips(frames=frames), most=1000)
    found = clips.dense_clips(np.arange(length), Clips(frames=frames), most)
    assert len(found) == min(most, len(every))
    places = [every.tolist().index(clip) for clip in found.tolist()]
    assert places[0] == 0 and (most == 1 or places[-1] == len(every) - 1)
    steps = np.diff(places)
    assert len(steps) == 0 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


@given(lengths, clip_lengths, st.integers(0, 1000))
def test_random_frames_are_different_ones_in_order(length, frames, seed):
    clip = clips.random_frames(np.arange(length), Clips(frames=frames), default_rng(seed))
    assert clip.shape == (frames,)
    if length >= frames:
        assert (np.diff(clip) > 0).all()
    else:
        assert set(clip) == set(range(length))


def test_random_frames_come_from_anywhere():
    rng = default_rng(0)
    pairs = Counter(tuple(clips.random_frames(np.arange(4), Clips(frames=2), rng)) for _ in range(300))
    assert len(pairs) == 6 and min(pairs.values()) > 25


@given(lengths, clip_lengths, st.integers(0, 1000))
def test_a_clip_of_chunks_has_a_frame_of_each_and_its_test_clip_the_first(length, frames, seed):
    order, spec = np.arange(length), Clips(frames=frames)
    size = -(-length // frames)
    clip = clips.chunk_frames(order, spec, default_rng(seed))
    (first,) = clips.first_of_chunks(order, spec, 200)
    for chunk, (drawn, tested) in enumerate(zip(clip, first, strict=True)):
        assert tested == min(chunk * size, length - 1)
        assert tested <= drawn <= min(chunk * size + size - 1, length - 1)


@given(lengths, clip_lengths)
def test_spread_frames_reach_from_the_first_to_the_last(length, frames):
    (clip,) = clips.spread_frames(np.arange(length), Clips(frames=frames), 200)
    assert clip.shape == (frames,) and clip[0] == 0
    assert frames == 1 or clip[-1] == length - 1
    assert len(set(np.diff(clip))) <= 2 or length < frames


@given(lengths, clip_lengths, st.integers(1, 9))
def test_a_whole_tracklet_is_one_clip(length, frames, most):
    (clip,) = clips.whole_tracklet(np.arange(length), Clips(frames=frames), most)
    assert len(clip) == min(length, most * frames)
    if length <= most * frames:
        assert clip.tolist() == list(range(length))


@given(lengths, clip_lengths, st.integers(1, 4))
def test_overlapping_clips_start_a_stride_apart_and_cover_the_tracklet(length, frames, stride):
    stride = min(stride, frames)
    found = clips.dense_clips(np.arange(length), Clips(frames=frames, stride=stride), most=1000)
    assert found[:, 0].tolist() == [stride * i for i in range(len(found))]
    assert set(found.ravel()) == set(range(length))
    assert len(found) == 1 or (len(found) - 1) * stride + frames - length < stride


def test_the_configuration_may_choose_the_rule_of_a_clip():
    assert clips.chosen(clips.TRAIN_CLIPS, "own", "chunks", "clips.train") is clips.chunk_frames
    assert clips.chosen(clips.TRAIN_CLIPS, "random", "chunks", "clips.train") is clips.random_frames
    with pytest.raises(InputError, match=r"clips.train: 'dense' is none of own, successive, random, chunks"):
        clips.chosen(clips.TRAIN_CLIPS, "dense", "chunks", "clips.train")


def test_the_longest_tracklet_of_mars_is_tested_with_200_of_its_230_clips():
    assert clips.dense_clips(np.arange(920), Clips(), 200).shape == (200, 4)


def test_consecutive_order_is_that_of_the_film():
    assert clips.frame_order(7, Clips(order="consecutive"), tracklet="a{1..7}.jpg").tolist() == list(range(7))


@given(lengths, st.text(max_size=9))
def test_shuffled_order_is_one_permutation_for_good(length, tracklet):
    spec = Clips(order="shuffled")
    order = clips.frame_order(length, spec, tracklet)
    assert sorted(order) == list(range(length))
    assert np.array_equal(order, clips.frame_order(length, spec, tracklet))


def test_shuffled_orders_differ_between_tracklets():
    orders = {tuple(clips.frame_order(20, Clips(order="shuffled"), f"tracklet {n}")) for n in range(10)}
    assert len(orders) == 10


# ---- which tracklets ----


def people_with(*counts) -> clips.TrainSet:
    """People who have so many tracklets, each of another camera; tracklets are numbered through."""
    people = np.repeat(np.arange(len(counts)), counts)
    return clips.TrainSet(people, np.concatenate([np.arange(count) for count in counts]) + 1)


def person_of(tracklets_of):
    return dict(enumerate(tracklets_of.people.tolist()))


def batches_of_epoch(tracklets_of, spec, seed=0, epoch=0):
    steps = clips.steps_per_epoch(tracklets_of.size, len(tracklets_of.people), spec)
    return [clips.batch_tracklets(tracklets_of, spec, seed, epoch * steps + step) for step in range(steps)]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.integers(2, 5),
    st.integers(1, 5),
    st.integers(0, 50),
)
def test_a_batch_has_k_clips_of_each_of_p_people_side_by_side(counts, people, per_person, seed):
    tracklets_of = people_with(*counts)
    owner = person_of(tracklets_of)
    spec = Training(people=people, clips=per_person)
    for batch in batches_of_epoch(tracklets_of, spec, seed):
        assert batch.shape == (people * per_person,)
        shown = [[owner[int(tracklet)] for tracklet in row] for row in batch.reshape(people, per_person)]
        assert all(len(set(row)) == 1 for row in shown)
        if people <= len(counts):
            assert len({row[0] for row in shown}) == people
        most = max(Counter(owner[int(tracklet)] for tracklet in batch).values())
        assert most <= clips.most_clips(len(counts), spec) and (people > len(counts) or most == per_person)


@given(st.integers(1, 30), st.integers(2, 8), st.integers(0, 5))
def test_every_person_stands_in_an_epoch_once_but_for_the_filling_of_the_last_batch(people, batch, epoch):
    tracklets_of = people_with(*[4] * people)
    spec = Training(people=batch, clips=2)
    owner = person_of(tracklets_of)
    shown = [owner[int(t)] for b in batches_of_epoch(tracklets_of, spec, epoch=epoch) for t in b[::2]]
    assert sorted(shown[:people]) == list(range(people))
    assert len(shown) == -(-people // batch) * batch


def test_people_come_in_another_order_each_epoch():
    tracklets_of, spec = people_with(*[4] * 20), Training(people=4, clips=1)
    owner = person_of(tracklets_of)

    def order(epoch, seed=0):
        return [owner[int(t)] for b in batches_of_epoch(tracklets_of, spec, seed, epoch) for t in b]

    assert order(0) != order(1)
    assert order(0) != order(0, seed=1)
    assert order(0) == order(0)


@given(st.integers(1, 9), st.integers(1, 6))
def test_someone_with_few_tracklets_gives_each_as_few_times_as_possible(tracklets, per_person):
    (batch,) = batches_of_epoch(people_with(tracklets, 1), Training(people=2, clips=per_person))
    shown = Counter(tracklet for tracklet in batch.tolist() if tracklet < tracklets)
    assert shown.total() == per_person
    assert len(shown) == min(tracklets, per_person)
    assert max(shown.values()) == -(-per_person // tracklets)


def test_all_tracklets_of_a_person_are_drawn_in_time():
    tracklets_of, spec = people_with(10, 1), Training(people=2, clips=2)
    drawn = {int(t) for step in range(40) for t in clips.batch_tracklets(tracklets_of, spec, 0, step)}
    assert drawn == set(range(11))


def test_neighbours_in_a_batch_are_of_different_cameras_as_far_as_a_person_has_them():
    camids = np.array([1, 1, 1, 1, 2, 1, 1, 1, 1, 1])
    tracklets = clips.TrainSet(np.repeat([0, 1], 5), camids)
    spec = Training(people=2, clips=4, batch="cameras")
    for step in range(30):
        first, second = clips.batch_tracklets(tracklets, spec, 0, step).reshape(2, 4)
        with_two_cameras = first if first[0] < 5 else second
        assert set(camids[with_two_cameras[:2]]) == {1, 2}
        assert len(set(with_two_cameras)) == 4


@given(st.integers(1, 60), st.integers(2, 4), st.integers(1, 4))
def test_batches_of_tracklets_show_each_once_an_epoch_but_for_the_filling_of_the_last(count, people, per_person):
    tracklets = clips.TrainSet(np.arange(count) // 3, np.ones(count, int))
    spec = Training(people=people, clips=per_person, batch="tracklets")
    shown = np.concatenate(batches_of_epoch(tracklets, spec, epoch=1))
    assert sorted(shown[:count]) == list(range(count))
    assert len(shown) == -(-count // (people * per_person)) * people * per_person


# ---- augmentation ----


@pytest.fixture
def frames():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (6, 3, 64, 32), dtype=torch.uint8, generator=generator)


def test_augmentation_that_is_switched_off_changes_nothing(frames):
    assert torch.equal(clips.augment(frames, STILL, default_rng(0)), frames)


def test_a_sure_flip_is_the_mirror_image(frames):
    flipped = clips.augment(frames, replace(STILL, flip=1.0), default_rng(0))
    assert torch.equal(flipped, frames.flip(3))


def test_a_flip_is_drawn_for_every_frame(frames):
    many = frames[:1].expand(400, -1, -1, -1)
    flipped = clips.augment(many, replace(STILL, flip=0.5), default_rng(0))
    mirrored = (flipped == many.flip(3)).flatten(1).all(1)
    kept = (flipped == many).flatten(1).all(1)
    assert (mirrored | kept).all()
    assert 160 < int(mirrored.sum()) < 240


def offsets(frames, cropped, pad):
    """Where each cropped frame lies in the padded one: a list of (top, left)."""
    padded = torch.nn.functional.pad(frames, (pad,) * 4)
    height, width = frames.shape[2:]
    found = []
    for i, crop in enumerate(cropped):
        places = [(y, x) for y in range(2 * pad + 1) for x in range(2 * pad + 1)]
        found += [p for p in places if torch.equal(padded[i, :, p[0] :, p[1] :][:, :height, :width], crop)]
    return found


def test_a_crop_is_a_window_of_the_frame_padded_with_black(frames):
    cropped = clips.augment(frames, replace(STILL, pad=2), default_rng(0))
    found = offsets(frames, cropped, pad=2)
    assert len(found) == len(frames)
    assert len(set(found)) > 1


def test_crops_reach_all_offsets(frames):
    many = frames[:1, :, :6, :6].expand(150, -1, -1, -1)
    found = offsets(many, clips.augment(many, replace(STILL, pad=1), default_rng(0)), pad=1)
    assert set(found) == {(y, x) for y in range(3) for x in range(3)}


IMAGENET_GREY = torch.tensor([124, 116, 104], dtype=torch.uint8)


def erased_part(size, number=300, erase=1.0):
    """Masks (N, H, W) of what erasing covers in white frames."""
    white = torch.full((number, 3, *size), 255, dtype=torch.uint8)
    erased = clips.augment(white, replace(STILL, erase=erase), default_rng(0))
    mask = (erased != 255).any(1)
    assert (erased.permute(0, 2, 3, 1)[mask] == IMAGENET_GREY).all()
    return mask


@pytest.mark.parametrize("size", [(64, 32), (256, 128)])
def test_erasing_covers_2_to_40_percent_with_the_imagenet_mean(size):
    share = erased_part(size).float().mean((1, 2))
    rounding = sum(size) / 4 / (size[0] * size[1])  # sides are whole pixels
    assert 0.02 - rounding <= share.min() < 0.05
    assert 0.3 < share.max() <= 0.4 + rounding


def test_erasing_covers_one_upright_rectangle_of_aspect_0_3_to_3_3():
    for mask in erased_part((256, 128)):
        rows, columns = mask.any(1), mask.any(0)
        height, width = int(rows.sum()), int(columns.sum())
        assert int(mask.sum()) == height * width
        assert torch.equal(mask, rows[:, None] & columns)
        assert height / width >= 0.3 * 0.93 or width == 128  # clipped to the frame
        assert height / width <= 3.3 * 1.07


def test_erasing_reaches_every_side_and_is_drawn_for_every_frame():
    mask = erased_part((64, 32), number=600, erase=0.5)
    assert mask[:, :, 0].any() and mask[:, :, -1].any() and mask[:, 0].any() and mask[:, -1].any()
    assert 240 < int(mask.any(2).any(1).sum()) < 360


def test_augmentation_draws_anew_for_every_frame(frames):
    same = frames[:1].expand(8, -1, -1, -1)
    augmented = clips.augment(same, Augment(pad=4, flip=0.5, erase=1.0), default_rng(0))
    assert augmented.shape == same.shape and augmented.dtype == torch.uint8
    assert len({frame.numpy().tobytes() for frame in augmented}) == 8


def test_a_clip_may_be_augmented_as_a_whole(frames):
    same = frames[:1].repeat(12, 1, 1, 1)
    whole = clips.augment(same, Augment(scope="clip", pad=4, flip=0.5, erase=1.0), default_rng(0), clip=4)
    clip = whole.unflatten(0, (3, 4))
    assert (clip == clip[:, :1]).all()
    assert not torch.equal(clip[0], clip[1]) and not torch.equal(clip[1], clip[2])


def test_augmentation_is_a_function_of_its_generator(frames):
    one, other, again = (clips.augment(frames, Augment(), default_rng(seed)) for seed in (1, 2, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_normalised_frames_have_the_scale_of_imagenet():
    grey = IMAGENET_GREY[None, None, :, None, None].expand(1, 2, 3, 4, 4)
    assert clips.normalise(grey).abs().max() < 0.01
    white = clips.normalise(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8))
    expected = (1 - torch.tensor(clips.IMAGENET_MEAN)) / torch.tensor(clips.IMAGENET_STD)
    torch.testing.assert_close(white[0, :, 0, 0], expected)


# ---- batches ----


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    return root, tiny.write_dataset(root)


def spec_of(**training) -> Spec:
    size = Clips(frames=3, height=tiny.HEIGHT, width=tiny.WIDTH)
    return Spec("m", 5, trunk=Trunk("small", 8, "none"), clips=size, training=Training(**training))


def training_batches(world, spec):
    root, table = world
    train = table[table["split"] == "train"].reset_index(drop=True)
    tracklets = clips.TrainSet(train["pid"].to_numpy() - 1, train["camid"].to_numpy())
    reader = FrameReader(root, tiny.HEIGHT, tiny.WIDTH)
    return clips.TrainingBatches(train["frames"], tracklets, reader, spec, clips.random_clip)


def equal(batches, others):
    pairs = zip(batches, others, strict=True)
    return all(torch.equal(a, b) for batch, other in pairs for a, b in zip(batch[:2], other[:2], strict=True))


def test_a_step_sees_what_seed_and_step_say_however_often_it_is_asked(world):
    spec = spec_of(people=3, clips=2)
    batches, fresh = training_batches(world, spec), training_batches(world, spec)
    forwards = [batches[step] for step in range(4)]
    backwards = [fresh[step] for step in (3, 2, 1, 0)][::-1]
    assert equal(forwards, backwards)
    assert not equal(forwards[:1], forwards[1:2])
    assert not equal(forwards, [training_batches(world, replace(spec, seed=6))[step] for step in range(4)])


def test_one_tracklet_is_cut_and_augmented_anew_at_every_step(world):
    root, table = world
    longest = table.loc[table["num_frames"].idxmax(), "frames"]
    reader, spec = FrameReader(root, tiny.HEIGHT, tiny.WIDTH), spec_of(people=2, clips=1)
    alone = clips.TrainSet(np.array([0]), np.array([1]))
    batches = clips.TrainingBatches([longest], alone, reader, spec, clips.random_clip)
    assert len({batches[step].clips.numpy().tobytes() for step in range(10)}) == 10


def test_loader_processes_change_nothing(world):
    batches = training_batches(world, spec_of(people=3, clips=2))
    alone = list(clips.load(batches, 0, range(2, 7)))
    assert len(alone) == 5
    assert equal(alone, [batches[step] for step in range(2, 7)])
    assert equal(alone, list(clips.load(batches, 2, range(2, 7))))


def test_a_training_batch_shows_frames_of_the_tracklets_that_it_names(world):
    root, table = world
    spec = replace(spec_of(people=4, clips=2), augment=STILL)
    clip_batch, tracklets, _ = training_batches(world, spec)[0]
    assert clip_batch.shape == (8, 3, 3, tiny.HEIGHT, tiny.WIDTH) and clip_batch.dtype == torch.uint8
    reader = FrameReader(root, tiny.HEIGHT, tiny.WIDTH)
    train = table[table["split"] == "train"]["frames"].tolist()
    for clip, tracklet in zip(clip_batch, tracklets):
        own = reader(expand_frames(train[tracklet]))
        assert all(any(torch.equal(frame, mine) for mine in own) for frame in clip)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_frame_is_one_message_even_from_a_loader_process(world, workers):
    root, _ = world
    templates = ["lost/{1..4}.jpg"] * 3
    reader = FrameReader(root, tiny.HEIGHT, tiny.WIDTH)
    batches = clips.EmbeddingBatches(templates, reader, Clips(frames=2), clips.dense_clips, most=9)
    with pytest.raises(InputError) as caught:
        list(clips.load(batches, workers))
    assert str(caught.value).startswith(f"{root}/lost/1.jpg: the frame cannot be read (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("choose", "batches_of"), [(clips.dense_clips, 4), (clips.whole_tracklet, None)])
def test_the_longest_and_the_shortest_tracklets_of_mars_share_batches_without_waste(choose, batches_of):
    """Every frame is asked for once; beyond that, only what pads the last clip of a tracklet."""
    asked, lengths = [], [920, 2, 57, 2, 3]

    def reader(names):
        asked.extend(names)
        return torch.zeros(len(names), 3, 1, 1, dtype=torch.uint8)

    templates = [f"{number}/{{1001..{1000 + length}}}.jpg" for number, length in enumerate(lengths)]
    batches = clips.EmbeddingBatches(templates, reader, Clips(frames=4), choose, most=230)
    sizes = [tuple(batch.clips.shape[:2]) for batch in clips.load(batches, 0)]
    assert set(asked) == {name for template in templates for name in expand_frames(template)}
    if batches_of:
        padding = sum(-length % batches_of for length in lengths)
        assert sizes == [(32, 4)] * 7 + [(sum(-(-length // 4) for length in lengths) - 7 * 32, 4)]
    else:
        padding = 0
        assert sizes == [(2, 2), (1, 3), (1, 57), (1, 920)]
    assert len(asked) == sum(lengths) + padding


@pytest.mark.parametrize("most", [1, 200])
def test_embedding_batches_hold_all_clips_of_all_tracklets_in_order(world, most):
    root, table = world
    reader = FrameReader(root, tiny.HEIGHT, tiny.WIDTH)
    spec = Clips(frames=2, height=tiny.HEIGHT, width=tiny.WIDTH)
    templates = table["frames"].iloc[:10]
    batches = clips.EmbeddingBatches(templates, reader, spec, clips.dense_clips, most, clips_per_batch=4)
    found = list(clips.load(batches, 0))
    assert [len(batch.clips) for batch in found[:-1]] == [4] * (len(found) - 1)
    assert len(found) == len(batches)
    shown, tracklets, _ = (torch.cat(part) for part in zip(*found))
    for row, template in enumerate(templates):
        names = expand_frames(template)
        dense = clips.dense_clips(np.arange(len(names)), spec, most)
        expected = torch.stack([reader([names[i] for i in clip]) for clip in dense])
        assert torch.equal(shown[tracklets == row], expected)
