"""The step number is the whole state of the order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage_jax.data.pipeline import Mixed, Share, evaluation_batches, training_batches


class Numbers:
    """A source whose examples are their own numbers, from `first` on."""

    fingerprint = "numbers"

    def __init__(self, count, first=0):
        self.count, self.first = count, first

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        n = int(index)
        return {
            "image": np.full((2, 2), n % 256, np.uint8),
            "male": np.float32(n % 2),
            "bone_age": np.float32(self.first + n),
        }


def read(count, steps, **options):
    batches = training_batches(Numbers(count), **{"batch_size": 8, "seed": 3, **options})
    return [next(batches) for _ in range(steps)]


def ages(batches):
    return np.stack([b["bone_age"] for b in batches])


def test_resuming_at_any_step_gives_the_same_batches():
    whole = read(50, 20)
    for start in (1, 7, 13):
        resumed = read(50, 20 - start, start_step=start)
        for a, b in zip(whole[start:], resumed, strict=True):
            for name in a:
                np.testing.assert_array_equal(a[name], b[name])


@settings(max_examples=10)
@given(
    processes=st.sampled_from([1, 2, 4, 8]),
    threads=st.integers(1, 5),
    start=st.integers(0, 9),
    seed=st.integers(0, 2**31 - 1),
)
def test_processes_read_consecutive_slices_of_the_same_batches(processes, threads, start, seed):
    whole = ages(read(50, 3, start_step=start, seed=seed))
    parts = [
        ages(read(50, 3, start_step=start, seed=seed, share=Share(p, processes), threads=threads))
        for p in range(processes)
    ]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_slots_number_the_global_batch():
    for p in (0, 1):
        for batch in read(50, 9, share=Share(p, 2)):
            np.testing.assert_array_equal(batch["slot"], np.arange(4) + 4 * p)
            assert batch["mask"].all()


def test_each_epoch_reads_every_record_once_in_another_order():
    stream = ages(read(40, 15)).ravel()
    epochs = stream.reshape(3, 40)
    for epoch in epochs:
        assert sorted(epoch) == list(range(40))
    assert not (epochs[0] == epochs[1]).all()
    assert not (ages(read(40, 5, seed=4)).ravel() == epochs[0]).all()


@pytest.mark.parametrize("part", [0.25, 0.5, 0.1])
def test_a_mix_keeps_its_part_and_each_source_its_epochs(part):
    mixed = Mixed(Numbers(30, first=1000), part)
    stream = ages(read(40, 60, mixed=mixed)).ravel()
    from_mix = stream >= 1000
    assert from_mix.mean() == pytest.approx(part, abs=0.01)
    # Evenly: no stretch of the stream is without its part.
    assert np.abs(np.cumsum(from_mix) - part * np.arange(1, len(stream) + 1)).max() <= 1.0
    for own, count in ((stream[~from_mix], 40), (stream[from_mix] - 1000, 30)):
        for epoch in own[: len(own) // count * count].reshape(-1, count):
            assert sorted(epoch) == list(range(count))
    resumed = ages(read(40, 60 - 7, mixed=mixed, start_step=7)).ravel()
    np.testing.assert_array_equal(resumed, stream[7 * 8 :])


@pytest.mark.parametrize(("count", "processes"), [(1, 1), (8, 2), (21, 1), (21, 4), (40, 8)])
def test_evaluation_counts_every_example_exactly_once(count, processes):
    seen = []
    for p in range(processes):
        batches = evaluation_batches(Numbers(count), batch_size=8, share=Share(p, processes))
        for batch in batches:
            assert len(batch["mask"]) == 8 // processes
            seen += batch["bone_age"][batch["mask"] > 0].tolist()
    assert sorted(seen) == list(range(count))


def test_a_batch_that_processes_do_not_divide():
    with pytest.raises(ValueError, match="cannot be divided"):
        read(8, 1, share=Share(0, 3))


def test_echoes_bring_each_example_again_in_blocks_and_read_it_once():
    reads = []

    class Counted(Numbers):
        def __getitem__(self, index):
            reads.append(int(index))
            return super().__getitem__(index)

    batches = training_batches(Counted(2000), batch_size=8, seed=3, echo_factor=3, threads=1, prefetch=1)
    block = 32 * 8
    seen = ages([next(batches) for _ in range(3 * 32)]).reshape(3, block)
    assert len(set(seen[0])) == block
    np.testing.assert_array_equal(seen[1], seen[0])
    np.testing.assert_array_equal(seen[2], seen[0])
    # The first of the next block may be on its way already.
    assert len(reads) == len(set(reads)) <= block + 8 * 8
    assert not set(ages([next(batches) for _ in range(32)]).ravel()) & set(seen[0])


@pytest.mark.parametrize("start", [1, 40, 70])
def test_echoes_resume_and_divide_like_anything_else(start):
    whole = read(2000, start + 3, echo_factor=3)[start:]
    np.testing.assert_array_equal(ages(read(2000, 3, echo_factor=3, start_step=start)), ages(whole))
    parts = [ages(read(2000, 3, echo_factor=3, start_step=start, share=Share(p, 2))) for p in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), ages(whole))


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_over_an_epoch_no_record_is_read_twice_or_skipped(processes):
    """Each process by itself, as it would read on a machine of its own; two epochs, the second begun half-way."""
    for start, steps in ((0, 6), (3, 6)):
        read_by = [
            ages(read(48, steps, start_step=start, share=Share(p, processes))).ravel().tolist()
            for p in range(processes)
        ]
        assert {len(records) for records in read_by} == {48 // processes}
        first = [record for records in read_by for record in records]
        if start == 0:
            assert sorted(first) == list(range(48))
        else:  # the end of one epoch and the beginning of the next
            whole = ages(read(48, 12)).reshape(12, 8)
            assert sorted(first) == sorted(whole[start : start + steps].ravel().tolist())
