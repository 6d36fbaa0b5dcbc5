"""What has no ONNX form is refused before anything else is asked for."""

import pytest

from segjax.data.detection import DetectionEval
from segjax.models import FasterRCNN
from segjax.predictor import Network, make_predictor
from segjax.tasks import Instance
from segjax.tools import onnx_export
from segjax.types import UserError
from tests.model_folders import INFO


def test_a_detector_is_refused_with_the_reason():
    network = Network(FasterRCNN(3), Instance(), DetectionEval(), 'unit', channels=3)
    predictor = make_predictor([network], [{}], INFO, name='it')
    with pytest.raises(UserError, match='gathers regions by computed indices'):
        onnx_export.convert(predictor, (64, 64), 'network.onnx')
