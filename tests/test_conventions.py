"""The rules of the house, read from the source: who imports whom, what is never called."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / 'segjax').rglob('*.py'))

# Each room and the rooms it may import from. Data flows one way:
# types -> ops -> layers -> backbones -> models -> tasks -> evaluate -> train -> modes.
NETWORK = {'types', 'ops', 'layers', 'backbones', 'models'}
ROOMS = {
    'types': set(),
    'files': set(),
    'processes': {'types'},
    'ops': {'types'},
    'layers': {'types', 'ops'},
    'backbones': {'types', 'ops', 'layers'},
    'models': {'types', 'ops', 'layers', 'backbones'},
    'losses': {'types', 'ops'},
    'metrics': {'types', 'ops'},
    'tasks': NETWORK | {'losses', 'metrics'},
    'data': {'types'},
    'config': {'types'},
    'optim': {'types'},
    'visualize': {'types', 'files'},
    'visualize_instances': {'types', 'visualize', 'metrics', 'data'},
    'sharding': {'types', 'ops', 'layers', 'processes'},
    'pretrained': NETWORK | {'files'},
    'evaluate': NETWORK | {'losses', 'metrics', 'tasks', 'data', 'sharding', 'processes'},
    'train': NETWORK
    | {'losses', 'metrics', 'tasks', 'data', 'sharding', 'processes', 'evaluate'}
    | {'config', 'files', 'optim', 'visualize', 'visualize_instances', 'pretrained'},
}
ROOMS['ablation'] = ROOMS['train'] | {'train'}
ROOMS['known_networks'] = NETWORK | {'data'}
ROOMS['prediction'] = {'data', 'evaluate', 'visualize', 'visualize_instances'}
ROOMS['predictor'] = NETWORK | {'tasks', 'data', 'evaluate', 'prediction'}
ROOMS['loading'] = ROOMS['predictor'] | {'predictor', 'pretrained', 'train', 'known_networks'}
ROOMS['export'] = {'types', 'ops', 'models', 'tasks', 'data', 'files', 'pretrained', 'predictor'}
ROOMS['gallery'] = {'types', 'files', 'visualize', 'data', 'prediction'}
ROOMS['modes'] = ROOMS['ablation'] | {
    *('ablation', 'export', 'predictor', 'prediction', 'loading', 'gallery', 'known_networks'),
}
ROOMS['commandline'] = ROOMS['modes'] | {'modes'}
ROOMS['grid'] = ROOMS['commandline'] | {'commandline'}
ROOMS['tools'] = ROOMS['modes'] | {'modes'}
ROOMS['__init__'] = {'loading'}


def _tree(path):
    return ast.parse(path.read_text(), str(path))


def _name(path):
    return str(path.relative_to(ROOT))


def _room(path):
    return path.relative_to(ROOT / 'segjax').parts[0].removesuffix('.py')


def _imports(path):
    """Every imported module by its full name, wherever in the file it is imported."""
    package = path.relative_to(ROOT).with_suffix('').parts[:-1]
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = '.'.join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f'{module}.{alias.name}' for alias in node.names)


def _top_levels(path):
    return {module.split('.')[0] for module in _imports(path)}


@pytest.fixture(params=FILES, ids=_name)
def path(request):
    return request.param


def test_there_is_a_house():
    assert len(FILES) > 40
    assert {_room(path) for path in FILES} <= set(ROOMS)


def test_the_arrows_have_no_cycle():
    """Rooms can be put in a row such that each imports only from rooms before it."""
    placed = set()
    while len(placed) < len(ROOMS):
        ready = {room for room, sources in ROOMS.items() if sources <= placed} - placed
        assert ready, f'in a circle: {sorted(set(ROOMS) - placed)}'
        placed |= ready


def test_imports_follow_the_arrows(path):
    allowed = ROOMS[_room(path)] | {_room(path)}
    rooms = {m.split('.')[1] for m in _imports(path) if m.startswith('segjax.')}
    wrong = rooms - allowed
    assert not wrong, f'{_name(path)} imports from {sorted(wrong)}'


def test_nothing_imports_experiments_or_the_launcher(path):
    assert not _top_levels(path) & {'experiments', 'launch', 'tests'}


def test_neither_torch_nor_tensorflow_is_imported(path):
    if _room(path) == 'tools':  # programs that compare with peers
        pytest.skip('a tool may need what it compares with')
    assert not _top_levels(path) & {'torch', 'torchvision', 'tensorflow', 'keras'}


def test_data_imports_no_jax(path):
    if _room(path) in ('data', 'types'):
        assert not _top_levels(path) & {'jax', 'jaxlib', 'flax', 'optax', 'orbax', 'chex'}


def test_ops_losses_and_metrics_are_pure_functions_without_flax(path):
    if _room(path) in ('ops', 'losses', 'metrics'):
        assert 'flax' not in _top_levels(path)


MODELS = sorted((ROOT / 'segjax/models').glob('*.py'))


@pytest.mark.parametrize('model', MODELS, ids=_name)
def test_one_model_file_never_imports_another(model):
    if model.name == '__init__.py':
        return
    others = {f'segjax.models.{other.stem}' for other in MODELS if other.stem != '__init__'}
    assert 'segjax.models' not in set(_imports(model))
    assert not others & set(_imports(model))


def test_files_are_named_after_their_subject(path):
    parts = path.relative_to(ROOT).with_suffix('').parts
    forbidden = {'utils', 'util', 'common', 'helpers', 'helper', 'misc', 'core', 'base'}
    assert not forbidden & set(parts)


def _dotted(node):
    """`a.b.c` of an expression, or an empty string."""
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value)
        return f'{inner}.{node.attr}' if inner else ''
    return node.id if isinstance(node, ast.Name) else ''


def _uses(path):
    return {(_dotted(n), n.lineno) for n in ast.walk(_tree(path)) if isinstance(n, ast.Attribute)}


OWN_LAYERS = ('Conv', 'ConvTranspose', 'ConvLocal', 'BatchNorm', 'Dropout', 'max_pool', 'avg_pool')


def test_convolution_normalisation_and_dropout_are_those_of_our_layers(path):
    if _room(path) == 'layers':
        return
    flax = {f'{module}.{layer}' for module in ('nn', 'linen', 'flax.linen') for layer in OWN_LAYERS}
    assert not [(name, line) for name, line in _uses(path) if name in flax]
    assert not {f'flax.linen.{layer}' for layer in OWN_LAYERS} & set(_imports(path))


def test_images_are_read_in_one_place(path):
    """OpenCV loses palette ids and returns None for a broken file; Pillow stays in data/images."""
    forbidden = {f'cv2.{name}' for name in ('imread', 'imreadmulti', 'imdecode', 'VideoCapture')}
    assert not [(name, line) for name, line in _uses(path) if name in forbidden]
    assert not forbidden & set(_imports(path))


def test_nothing_executes_what_it_reads(path):
    modules = {'pickle', 'cPickle', 'dill', 'cloudpickle', 'joblib', 'shelve', 'marshal'}
    assert not _top_levels(path) & modules
    assert not {'os.system', 'os.popen'} & set(_imports(path))
    wrong = []
    for node in ast.walk(_tree(path)):
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func)
        keywords = {k.arg: getattr(k.value, 'value', None) for k in node.keywords}
        wrong += [node.lineno] * (name in {'eval', 'exec', '__import__', 'os.system', 'os.popen'})
        wrong += [node.lineno] * bool(keywords.get('shell') or keywords.get('allow_pickle'))
        wrong += [node.lineno] * (name.endswith('extractall') and 'filter' not in keywords)
    assert not wrong, f'{_name(path)}, lines {wrong}'


def _classes():
    """All classes of segjax: name -> (names of its bases, its documented methods)."""
    return {
        node.name: (
            [_dotted(base).split('.')[-1] for base in node.bases],
            {f.name for f in node.body if isinstance(f, FUNCTION) and ast.get_docstring(f)},
        )
        for path in FILES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ClassDef)
    }


FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
CLASSES = _classes()


def _inherited(class_name):
    """The methods that the bases of a class document."""
    methods = set()
    for base in CLASSES[class_name][0] if class_name in CLASSES else []:
        methods |= (CLASSES[base][1] if base in CLASSES else set()) | _inherited(base)
    return methods


def _undocumented(node, owner=''):
    """Public classes, functions and methods without a docstring of their own or of a base."""
    known = _inherited(owner) if owner else set()
    for child in node.body:
        if not isinstance(child, (*FUNCTION, ast.ClassDef)) or child.name.startswith('_'):
            continue
        if not ast.get_docstring(child) and child.name not in known:
            yield f'{owner}.{child.name}'.lstrip('.')
        if isinstance(child, ast.ClassDef):
            yield from _undocumented(child, child.name)


def test_everything_public_has_a_docstring(path):
    tree = _tree(path)
    if path.name == '__init__.py' and not tree.body:
        return
    assert ast.get_docstring(tree), f'{_name(path)} has no docstring'
    missing = list(_undocumented(tree))
    assert not missing, f'{_name(path)}: {missing}'


def test_a_random_argument_is_called_key(path):
    """And not rng, `train` not deterministic or training."""
    if _room(path) not in NETWORK | {'tasks', 'evaluate'}:
        return
    forbidden = {'rng', 'prng', 'prng_key', 'rng_key', 'seed', 'training', 'is_training'}
    forbidden |= {'deterministic', 'use_running_average'}
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            names = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
            assert not names & forbidden, f'{_name(path)}:{node.lineno}'


def test_options_of_ops_are_keyword_only():
    """Everything with a default comes after the star."""
    for path in FILES:
        if _room(path) not in ('ops', 'losses', 'metrics'):
            continue
        for node in _tree(path).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith('_'):
                assert not node.args.defaults, f'{_name(path)}: {node.name}'
