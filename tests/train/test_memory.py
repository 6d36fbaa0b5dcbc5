"""What is said when XLA finds no memory."""

import dataclasses

import jax
import pytest

from segjax.data.detection import DetectionEval
from segjax.train.memory import explain_out_of_memory
from segjax.types import UserError
from tests.train.test_loop import tiny

XLA = 'RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.\nBuffers: ...'


def test_the_message_names_batch_bytes_and_fields():
    with pytest.raises(UserError) as caught, explain_out_of_memory(tiny(), 2):
        raise jax.errors.JaxRuntimeError(XLA)
    text = str(caught.value)
    assert '4 pictures of 32x32 (batch per device)' in text and '17179869184 bytes' in text
    assert '--remat=true' in text and '--train.batch_size=4' in text and '\n' not in text
    assert '--tile=32,32 (in evaluation)' in text and 'a smaller --crop. ' in text


def test_detectors_are_not_told_of_tiles_which_they_refuse():
    detector = dataclasses.replace(tiny(), eval=DetectionEval())
    with pytest.raises(UserError) as caught, explain_out_of_memory(detector, 2):
        raise jax.errors.JaxRuntimeError(XLA)
    assert '--tile' not in str(caught.value)
    assert 'smaller --short, --long and --crop. ' in str(caught.value)


def test_a_program_too_large_for_any_memory():
    """The error of a real allocation takes the same way."""
    huge = jax.jit(lambda x: jax.numpy.ones((2**28, 2**28), 'float32') * x)
    with pytest.raises(UserError, match='has no memory left'), explain_out_of_memory(tiny(), 1):
        huge(jax.numpy.float32(1)).block_until_ready()


def test_other_errors_of_the_device_pass():
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match='INTERNAL'),
        explain_out_of_memory(tiny(), 1),
    ):
        raise jax.errors.JaxRuntimeError('INTERNAL: something else')
