"""The semantic task with models that return what the test gives them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.losses import CrossEntropy, CrossEntropyDice
from segjax.tasks import Semantic
from segjax.tasks.semantic import SemanticEvaluator, two_classes
from segjax.types import Batch, SegmentationOutput, UserError

LOG3 = float(np.log(3))
# Softmax of the four pixels: (1/2, 1/2), (3/4, 1/4), (3/4, 1/4), (1/4, 3/4).
LOGITS = jnp.asarray([[[[0, 0], [LOG3, 0]], [[LOG3, 0], [0, LOG3]]]], jnp.float32)
LABEL = jnp.asarray([[[0, 0], [1, 255]]], jnp.int32)
NLL = np.log([2, 4 / 3, 4])


class _Linear(nn.Module):
    """Takes the image for the logits; the auxiliary heads are multiples of it."""

    aux: tuple[float, ...] = ()
    margin: int = 0

    @nn.compact
    def __call__(self, image, *, train):
        gain = self.param('gain', nn.initializers.ones, ())
        seen = self.variable('batch_stats', 'seen', jnp.zeros, (), jnp.float32)
        if train and not self.is_initializing():
            self.make_rng('dropout')  # the task must provide it
            seen.value += 1
        m = self.margin
        image = image[:, m : image.shape[1] - m, m : image.shape[2] - m]
        return SegmentationOutput(gain * image, tuple(factor * gain * image for factor in self.aux))


def _variables(gain=1.0):
    return {'params': {'gain': jnp.asarray(gain)}, 'batch_stats': {'seen': jnp.asarray(2.0)}}


def _terms(task, batch, model=None):
    model = model or _Linear()
    terms, updates = task.loss(model, _variables(), batch, jax.random.key(0))
    return {name: (float(total), float(count)) for name, (total, count) in terms.items()}, updates


def _batch(**parts):
    return Batch(**{'image': LOGITS, 'label': LABEL, **parts})


def test_loss_by_hand():
    terms, updates = _terms(Semantic(), _batch())
    assert terms == {'cross_entropy': (pytest.approx(NLL.sum()), 3)}
    assert float(updates['batch_stats']['seen']) == 3


def test_weights_of_pixels_and_of_classes_reach_the_loss():
    weight = jnp.asarray([[[1.0, 2.0], [10.0, 1000.0]]])
    task = Semantic(CrossEntropy(class_weights=(1.0, 3.0)))
    terms, _ = _terms(task, _batch(weight=weight))
    assert terms['cross_entropy'] == (pytest.approx(NLL[0] + 2 * NLL[1] + 30 * NLL[2]), 5)


def test_one_sigmoid_channel_equals_a_softmax_of_two():
    z = jnp.asarray(np.random.default_rng(0).normal(0, 3, (1, 2, 2, 1)).astype(np.float32))
    foreground = 1 / (1 + np.exp(-np.float64(z[..., 0])))
    probs = Semantic().predict(_Linear(), _variables(), z)
    np.testing.assert_allclose(probs[..., 1], foreground, rtol=1e-5)
    np.testing.assert_allclose(probs.sum(-1), np.ones((1, 2, 2)), rtol=1e-6)
    terms, _ = _terms(Semantic(), _batch(image=z))
    likelihood = np.where(LABEL == 1, foreground, 1 - foreground)[np.asarray(LABEL) != 255]
    assert terms['cross_entropy'] == (pytest.approx(-np.log(likelihood).sum(), rel=1e-5), 3)
    assert terms == _terms(Semantic(), _batch(image=two_classes(z)))[0]
    assert two_classes(LOGITS) is LOGITS


def test_auxiliary_heads_are_weighted_terms_of_their_own():
    task, model = Semantic(aux_weights=(0.4, 0.1)), _Linear(aux=(0.0, 1.0))
    terms, _ = _terms(task, _batch(), model)
    assert terms == {
        'cross_entropy': (pytest.approx(NLL.sum()), 3),
        'aux1': (pytest.approx(0.4 * 3 * np.log(2)), 3),  # zero logits: log k
        'aux2': (pytest.approx(0.1 * NLL.sum()), 3),
    }


def test_without_weights_auxiliary_heads_are_not_supervised():
    terms, _ = _terms(Semantic(), _batch(), _Linear(aux=(0.0, 1.0)))
    assert set(terms) == {'cross_entropy'}


def test_every_head_learns_from_its_hardest_pixels_as_the_ramp_goes_on():
    """The three losses are log 2, log 4/3 and log 4; those of a head of zeros are equal."""
    task = Semantic(CrossEntropy(top_k=0.34, ramp_steps=10), aux_weights=(0.5,))
    for step, number in ((0, 3), (5, 2), (10, 1)):
        terms, _ = task.loss(
            _Linear(aux=(0.0,)), _variables(), _batch(), jax.random.key(0), step=jnp.asarray(step)
        )
        terms = {name: (float(total), float(count)) for name, (total, count) in terms.items()}
        assert terms['cross_entropy'] == (pytest.approx(np.sort(NLL)[-number:].sum()), number)
        assert terms['aux1'] == (pytest.approx(0.5 * 3 * np.log(2)), 3)


def test_each_head_has_each_term_of_the_criterion():
    task = Semantic(CrossEntropyDice(dice=2.0, smooth=0.0), supervision='halving')
    terms, _ = _terms(task, _batch(), _Linear(aux=(0.0,)))
    dice = 1 - 2 * 0.25 / (1.0 + 1.0)  # of three pixels with a class; one is foreground
    assert terms == {
        'cross_entropy': (pytest.approx(2 / 3 * 0.5 * NLL.sum()), 3),
        'dice': (pytest.approx(2 / 3 * 2 * dice), 1),
        'aux1_cross_entropy': (pytest.approx(1 / 3 * 0.5 * 3 * np.log(2)), 3),
        'aux1_dice': (pytest.approx(1 / 3 * 2 * (1 - 2 * 0.5 / 2.5)), 1),
    }


@pytest.mark.parametrize('supervision', ['mean', 'sum', 'halving', 'ramp'])
def test_a_model_with_one_head_learns_by_the_plain_loss(supervision):
    assert _terms(Semantic(supervision=supervision), _batch())[0] == _terms(Semantic(), _batch())[0]


def test_the_ramp_moves_to_the_main_head():
    task = Semantic(supervision='ramp', supervision_steps=4)
    model, key = _Linear(aux=(0.0,)), jax.random.key(0)
    for step, main in ((0, 0.5), (2, 0.75), (4, 1.0)):
        terms, _ = task.loss(model, _variables(), _batch(), key, step=jnp.asarray(step))
        assert float(terms['cross_entropy'][0]) == pytest.approx(main * NLL.sum())
        assert float(terms['aux1'][0]) == pytest.approx((1 - main) * 3 * np.log(2))


def test_the_evaluation_adds_up_the_terms_of_a_loss():
    probs = Semantic().predict(_Linear(), _variables(), LOGITS)
    task = Semantic(CrossEntropyDice(smooth=0.0, over='batch'))
    evaluator = task.evaluator(2)
    evaluator.update({k: np.asarray(v) for k, v in task.score(probs, _batch()).items()})
    dice = 1 - 2 * 0.25 / (1.0 + 1.0)
    assert evaluator.compute()['loss'] == pytest.approx(0.5 * NLL.mean() + dice)


def test_another_number_of_weights_than_heads_is_refused():
    with pytest.raises(UserError, match='1 aux_weights for 2 auxiliary heads'):
        _terms(Semantic(aux_weights=(1.0,)), _batch(), _Linear(aux=(0.0, 1.0)))


@pytest.mark.parametrize(
    'head, foreground', [('main', 0.75), ('3', 0.75), ('1', 0.5), ('2', 0.25), ('mean', 0.5)]
)
def test_the_chosen_head_predicts(head, foreground):
    model, image = _Linear(aux=(0.0, -1.0)), jnp.asarray([0.0, LOG3]).reshape(1, 1, 1, 2)
    probs = Semantic(head=head).predict(model, _variables(), image)
    np.testing.assert_allclose(probs.ravel(), [1 - foreground, foreground], rtol=1e-6)


def test_a_head_that_is_not_there_is_refused():
    with pytest.raises(UserError, match='head 2 was asked for; the model has 1'):
        Semantic(head='2').predict(_Linear(), _variables(), LOGITS)


def test_label_and_weight_are_cut_by_the_margin_of_the_model():
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(2, 8, 7, 3)).astype(np.float32))
    label = jnp.asarray(rng.integers(0, 3, (2, 8, 7)).astype(np.int32))
    weight = jnp.asarray(rng.uniform(size=(2, 8, 7)).astype(np.float32))
    inner = np.s_[:, 2:-2, 2:-2]
    cut, _ = _terms(Semantic(), Batch(image, label, weight), _Linear(margin=2))
    expected, _ = _terms(Semantic(), Batch(image[inner], label[inner], weight[inner]))
    assert cut == expected
    assert cut['cross_entropy'][1] == 2 * 4 * 3


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_a_batch_without_labels_has_loss_and_gradient_zero(reduction):
    batch, task = (
        _batch(label=jnp.full_like(LABEL, 255)),
        Semantic(CrossEntropy(reduction=reduction)),
    )

    def mean(variables):
        terms, _ = task.loss(_Linear(), variables, batch, jax.random.key(0))
        total, count = terms['cross_entropy']
        return total / jnp.maximum(count, 1)

    value, gradient = jax.value_and_grad(mean)(_variables())
    assert float(value) == 0
    assert float(gradient['params']['gain']) == 0


def test_the_gradient_of_the_loss_by_hand():
    def total(variables):
        terms, _ = Semantic().loss(_Linear(), variables, _batch(), jax.random.key(0))
        return terms['cross_entropy'][0]

    # d/dgain sum (logsumexp(gain z) - gain z_l) = sum (sum_j p_j z_j - z_l)
    by_hand = 0 + (0.75 - 1) * LOG3 + (0.75 - 0) * LOG3
    assert float(jax.grad(total)(_variables())['params']['gain']) == pytest.approx(by_hand)


def test_score_of_four_pixels_by_hand():
    probs = Semantic().predict(_Linear(), _variables(), LOGITS)
    scores = Semantic().score(probs, _batch())
    assert scores['prediction'].tolist() == [[[0, 0], [0, 1]]]
    assert scores['confusion'].tolist() == [[[2, 0], [1, 0]]]
    np.testing.assert_allclose(scores['loss'], [[NLL.sum()]], rtol=1e-6)
    assert scores['count'].tolist() == [[3]]


def test_the_loss_of_an_evaluation_is_that_of_all_pixels():
    probs = Semantic().predict(_Linear(), _variables(), LOGITS)
    mining = Semantic(CrossEntropy(top_k=0.1)).score(probs, _batch())
    for name, expected in Semantic().score(probs, _batch()).items():
        np.testing.assert_array_equal(mining[name], expected)


def test_pictures_without_labels_have_loss_zero_and_no_score():
    void = _batch(label=jnp.full((1, 2, 2), 255, jnp.int32))
    evaluator = Semantic().evaluator(2)
    evaluator.update(
        {k: np.asarray(v) for k, v in Semantic().score(LOGITS * 0 + 0.5, void).items()}
    )
    computed = evaluator.compute()
    assert computed.pop('loss') == 0
    assert computed and all(np.isnan(value) for value in computed.values())


def test_a_probability_of_zero_scores_a_finite_loss():
    scores = Semantic().score(
        jnp.asarray([[[[1.0, 0.0]]]]), Batch(LOGITS, jnp.ones((1, 1, 1), int))
    )
    assert 80 < float(scores['loss'][0, 0]) < 100


def test_the_evaluator_divides_sums_and_merges():
    probs = Semantic().predict(_Linear(), _variables(), LOGITS)
    scores = {k: np.asarray(v) for k, v in Semantic().score(probs, _batch()).items()}
    one, other = Semantic().evaluator(2), SemanticEvaluator(2)
    one.update(scores)
    assert one.compute()['loss'] == pytest.approx(NLL.mean())
    assert one.compute()['pixel_accuracy'] == pytest.approx(2 / 3)
    ignored = {**scores, 'loss': np.zeros((1, 1)), 'count': np.zeros((1, 1))}
    other.update({**ignored, 'confusion': np.asarray([[[0, 0], [0, 7]]])})
    one.merge(other)
    assert one.compute()['loss'] == pytest.approx(NLL.mean())
    assert one.compute()['pixel_accuracy'] == pytest.approx(9 / 10)


def test_an_evaluator_that_saw_nothing_has_no_score():
    computed = SemanticEvaluator(2).compute()
    assert np.isnan(computed['mean_iou'])
    assert computed['loss'] == 0


def test_checkpoints_are_compared_by_a_metric_that_is_measured():
    assert Semantic(scores=('image',), best_metric='image_iou').best_metric == 'image_iou'
    with pytest.raises(UserError, match='--scores=image'):
        Semantic(best_metric='image_iou')
