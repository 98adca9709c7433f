import threading

import pytest
import torch

from ceph_core.data.parallel import in_order, stderr_progress
from ceph_core.errors import InputError


def test_results_come_in_order_and_every_problem_at_the_end():
    def work(number):
        if number in (5, 30):
            raise InputError(f"{number} is bad")
        return number * 2

    found, seen = [], []
    with pytest.raises(InputError) as caught:
        found.extend(in_order(work, range(40), lambda done, total: seen.append(done)))
    assert list(caught.value.problems) == ["5 is bad", "30 is bad"]
    assert seen == list(range(1, 41))
    assert list(in_order(work, (3, 1, 2), lambda done, total: None)) == [6, 2, 4]


def test_each_thread_computes_alone_and_the_consumer_keeps_its_team():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for threads in in_order(lambda _: torch.get_num_threads(), range(6), lambda done, total: None):
            assert (threads, torch.get_num_threads()) == (1, 2)
        later = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert later == [2]
    finally:
        torch.set_num_threads(before)


def test_progress_says_how_fast_and_how_long(capsys):
    report = stderr_progress("reading", interval_s=0)
    report(1, 4)
    assert capsys.readouterr().err.startswith("reading: 1/4 films, ")
    report(2, 4)
    line = capsys.readouterr().err
    assert " a second, " in line and line.endswith(" left\n")
    silent = stderr_progress("reading", interval_s=60)
    silent(4, 4)
    assert capsys.readouterr().err == ""
    stderr_progress("reading", interval_s=60, last=True)(4, 4)
    assert capsys.readouterr().err.startswith("reading: 4/4 films, ")
