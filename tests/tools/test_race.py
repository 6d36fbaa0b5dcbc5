"""Taking turns, and the work of other processes."""

import time

from segjax.tools import race as racing


def test_candidates_take_turns_and_the_first_rounds_do_not_count(monkeypatch):
    monkeypatch.setattr(racing, 'ROUNDS', (3, 3))
    called, clock = [], [0.0]
    monkeypatch.setattr(time, 'perf_counter', lambda: clock[0])
    costs = {'jax': iter([100, 100, 1, 9, 2]), 'eager': iter([100, 100, 4, 4, 5])}

    def candidate(name):
        def run():
            called.append(name)
            clock[0] += next(costs[name])

        return run

    found = racing.race_against({name: candidate(name) for name in costs}, seconds=0)
    assert called == ['jax', 'eager'] * 5
    assert found == {'vs_eager': 0.5, 'jax_ms': 2000, 'eager_ms': 4000}


def test_a_race_lasts_as_long_as_it_was_told(monkeypatch):
    monkeypatch.setattr(racing, 'ROUNDS', (2, 100))
    clock, rounds = [0.0], []
    monkeypatch.setattr(time, 'perf_counter', lambda: clock[0])

    def run():
        rounds.append(1)
        clock[0] += 1

    racing.race({'jax': run}, seconds=6)
    assert len(rounds) == 2 + 7  # two to warm up, then until more than six seconds have passed


def test_own_work_is_not_that_of_others(monkeypatch):
    readings = iter(
        [(10.0, 50.0, 5.0), (12.0, 53.0, 7.0)]
    )  # clock, all cores at work, this process
    monkeypatch.setattr(racing.OtherLoad, '_now', lambda self: next(readings))
    assert racing.OtherLoad().cores() == 0.5  # (3 - 2) seconds of work in 2 seconds


def test_the_load_is_a_number_of_cores_where_the_system_tells():
    load = racing.OtherLoad()
    time.sleep(0.02)
    found = load.cores()
    assert found is None or 0 <= found < 10_000
