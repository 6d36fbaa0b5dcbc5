"""RoIAlign's memory at full size, as XLA counts it in the compiled program."""

from segjax.tools import memory
from segjax.train.memory import compiled_memory

CELLS = 200 * 336 + 100 * 168 + 50 * 84 + 25 * 42  # of p2 to p5 of 800 x 1344 pixels


def test_512_boxes_take_less_than_a_quarter_of_a_gigabyte_forward_and_backward():
    pyramid, result = 4 * 256 * CELLS, 4 * 256 * 512 * 7 * 7
    for name, program in memory.programs(512, 7, 'auto').items():
        found = compiled_memory(program)
        assert found['temporary'] < 0.25e9
        gradient = 'backward' in name
        assert found['arguments'] == pyramid + 512 * (4 + 1) * 4 + gradient * result
        # results: a table of pointers lies beside the arrays
        assert 0 <= found['outputs'] - result - gradient * pyramid < 1024
