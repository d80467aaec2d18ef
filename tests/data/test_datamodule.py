from itertools import chain
from types import SimpleNamespace

import pytest
import torch

from mnist_seq.config import GridConfig
from mnist_seq.data.datamodule import IdLoader, SceneDataModule
from mnist_seq.errors import UserError


def ids(stream: IdLoader) -> list[int]:
    return [int(index) for batch in stream for index in batch.ids]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("scenes", [1, 7, 8, 23])
def test_ranks_share_out_every_scene_once(ranks: int, scenes: int) -> None:
    streams = [IdLoader("val", 4, scenes, rank, ranks) for rank in range(ranks)]
    shares = [ids(stream) for stream in streams]
    assert sorted(chain(*shares)) == list(range(scenes))
    assert [len(list(stream)) for stream in streams] == [len(stream) for stream in streams]


def test_training_never_sees_a_scene_twice() -> None:
    streams = [IdLoader("train", 4, 20, rank, 2, finite=False) for rank in range(2)]
    flat = [index for stream in streams for _ in range(3) for index in ids(stream)]
    assert len(streams[0]) == 2
    assert sorted(flat) == list(range(3 * 2 * 2 * 4))


@pytest.mark.parametrize("shuffle", [None, 3])
@pytest.mark.parametrize("batches", [1, 3, 8])
def test_an_epoch_is_a_whole_number_of_steps_and_holds_the_same_batches(batches: int, shuffle: int | None) -> None:
    once = IdLoader("train", 4, 20, 0, 1, finite=False, shuffle_seed=shuffle)
    several = IdLoader("train", 4, 20, 0, 1, finite=False, shuffle_seed=shuffle, accumulate_grad_batches=batches)
    assert len(several) == {1: 5, 3: 3, 8: 8}[batches]
    expected = [index for _ in range(24) for index in ids(once)]
    found = [index for _ in range(5) for index in ids(several)]
    assert found == expected[: len(found)]


@pytest.mark.parametrize("ranks", [1, 2, 3, 16])
@pytest.mark.parametrize("scenes", [16, 17, 31, 500, 501, 5000])
def test_every_rank_has_a_batch_to_validate(scenes: int, ranks: int) -> None:
    """One without any would leave the others waiting for it where they add up their sums."""
    shares = []
    for rank in range(ranks):
        data = SceneDataModule(GridConfig(digits="uci", val_scenes=scenes))
        data.datasets = {"val": range(scenes)}  # type: ignore[dict-item]
        data.trainer = SimpleNamespace(global_rank=rank, world_size=ranks, accumulate_grad_batches=1)  # type: ignore[assignment]
        stream = data.val_dataloader()
        assert isinstance(stream, IdLoader)
        assert len(stream) >= 1
        shares.append(ids(stream))
    assert sorted(chain(*shares)) == list(range(scenes))


def test_fewer_val_scenes_than_processes_are_refused() -> None:
    data = SceneDataModule(GridConfig(digits="uci", val_scenes=3))
    data.datasets = {"val": range(3)}  # type: ignore[dict-item]
    data.trainer = SimpleNamespace(global_rank=0, world_size=4, accumulate_grad_batches=1)  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"3 scenes of val are fewer than the 4 processes.*data.val_scenes"):
        data.val_dataloader()


def test_a_resumed_stream_goes_on_with_the_next_batch() -> None:
    whole = IdLoader("train", 4, 20, 0, 1, finite=False)
    expected = [ids(whole) for _ in range(2)]
    first = IdLoader("train", 4, 20, 0, 1, finite=False)
    batches = iter(first)
    begun = [int(index) for _ in range(3) for index in next(batches).ids]
    second = IdLoader("train", 4, 20, 0, 1, finite=False)
    second.load_state_dict(first.state_dict())
    assert begun + ids(second) == expected[0]
    assert ids(second) == expected[1]


def test_val_scenes_are_the_same_for_every_seed_and_training_scenes_are_not() -> None:
    data = [SceneDataModule(GridConfig(digits="uci"), seed) for seed in (0, 1)]
    for each in data:
        each.setup()
    val, train = ([each.datasets[split][:5].images for each in data] for split in ("val", "train"))
    assert torch.equal(*val)
    assert not torch.equal(*train)


def test_fixed_scenes_come_once_an_epoch_in_an_order_of_that_epoch() -> None:
    streams = [IdLoader("train", 4, 20, rank, 2, finite=False, shuffle_seed=3) for rank in range(2)]
    epochs = []
    for _ in range(4):  # of 16: what does not fill a batch of every rank comes with the next
        epochs.append([ids(stream) for stream in streams])
    handed = [index for epoch in epochs for part in epoch for index in part]
    assert sorted(handed) == sorted(list(range(20)) * 3 + in_order(streams[0], 60, 64))
    first, second = in_order(streams[0], 0, 20), in_order(streams[0], 20, 40)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert first != list(range(20))
    other = IdLoader("train", 4, 20, 0, 1, finite=False, shuffle_seed=4)
    assert in_order(other, 0, 20) != first


def test_a_fixed_set_hands_out_its_scenes_and_no_others() -> None:
    data = SceneDataModule(GridConfig(digits="uci", num_train_scenes=24, batch_size=8), seed=1)
    data.setup()
    stream = data.train_dataloader()
    first, second = ids(stream), ids(stream)
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second
    data = SceneDataModule(GridConfig(digits="uci", batch_size=8))
    data.setup()
    fresh = iter(data.train_dataloader())
    assert [int(index) for _ in range(5) for index in next(fresh).ids] == list(range(40))


def in_order(stream: IdLoader, begin: int, end: int) -> list[int]:
    assert stream.shuffle_seed is not None
    return stream._shuffle_ids(torch.arange(begin, end), stream.shuffle_seed).tolist()
