"""What rank zero decides, in two real processes."""

import multiprocessing

import pytest
import torch.distributed as dist

from lcx_lightning.distributed.process_group import decided_by_rank_zero, rank


def ask(rank_here, store, asked):
    """As one of two processes, put what is decided, and what is raised, into a queue with the own rank."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank_here, world_size=2)
    try:
        found = [decided_by_rank_zero(lambda: f"decided by {rank()}")]
        try:
            decided_by_rank_zero(lambda: int("x"))
        except ValueError as error:
            found.append(str(error))
        asked.put((rank_here, [*found, decided_by_rank_zero(rank)]))
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_what_rank_zero_decides_or_raises_is_the_same_in_all_processes(tmp_path):
    context = multiprocessing.get_context("spawn")
    asked = context.Queue()
    processes = [context.Process(target=ask, args=(number, tmp_path / "store", asked)) for number in range(2)]
    for process in processes:
        process.start()
    found = dict(asked.get(timeout=300) for _ in processes)
    for process in processes:
        process.join()
    assert found[0] == found[1] == ["decided by 0", "invalid literal for int() with base 10: 'x'", 0]


def test_a_process_alone_decides_itself():
    assert decided_by_rank_zero(lambda: 3) == 3
    with pytest.raises(ValueError, match="invalid literal"):
        decided_by_rank_zero(lambda: int("x"))
