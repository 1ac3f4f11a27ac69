"""Test the neural models: numpy scores equal torch's, and only training imports torch."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from retention.errors import BadInput
from retention.recommend.evaluation.evaluation_context import validate_model
from retention.recommend.models import DEEP, MODELS
from retention.recommend.models.base import PurchaseDays
from retention.recommend.models.neighbours import normalise_rows
from retention.recommend.models.neural import MultDae, SasRec, purchase_sequences
from tests.retention.recommend.test_models import NEEDS_TORCH, checkerboard, side_information


@pytest.mark.nightly
def test_recommending_never_imports_torch():
    code = (
        "import sys, retention.recommend, retention.recommend.models as m; "
        "print('torch' in sys.modules, *m.DEEP)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert process.stdout.split() == ["False", "mult_dae", "sasrec"], process.stderr


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
@pytest.mark.parametrize("name", DEEP)
def test_missing_torch_gives_one_sentence(name):
    with pytest.raises(BadInput, match="make setup-deep"):
        validate_model(name)
    with pytest.raises(BadInput, match="make setup-deep"):
        MODELS[name]().fit(checkerboard())


def test_sequences_hold_the_newest_purchases_in_order():
    days = PurchaseDays(
        np.array([0, 0, 0, 2]), np.array([5, 7, 6, 1]), np.array([1.0, 9.0, 3.0, 2.0])
    )
    assert purchase_sequences(days, 3, 2, 99).tolist() == [[6, 5], [99, 99], [99, 1]]
    assert purchase_sequences(days, 3, 4, 99)[0].tolist() == [99, 7, 6, 5]


@pytest.mark.deep
@NEEDS_TORCH[1]
def test_sasrec_scores_equal_torchs():
    import torch

    from retention.recommend.models.neural import _forward, _network

    board = checkerboard()
    model = SasRec(length=12, epochs=1).fit(board, side=side_information(board))
    module = _network(board.shape[1], model.size, model.length, model.blocks, 0.2)
    module.load_state_dict(
        {name: torch.from_numpy(values) for name, values in model.weights_.items()}
    )
    module.eval()
    sequences = purchase_sequences(
        side_information(board).days, board.shape[0], model.length, board.shape[1]
    )
    sequences[3, :8] = board.shape[1]
    with torch.no_grad():
        expected = _forward(module, torch.from_numpy(sequences), board.shape[1]).numpy()
    np.testing.assert_allclose(model.hidden(sequences)[:, -1], expected[:, -1], atol=2e-4)


@pytest.mark.deep
@NEEDS_TORCH[1]
def test_mult_dae_scores_equal_torchs():
    import torch

    board = checkerboard()
    model = MultDae(epochs=1).fit(board)
    batch = torch.from_numpy(normalise_rows(board).toarray())
    hidden = torch.tanh(
        torch.nn.functional.linear(
            batch, torch.from_numpy(model.inward_), torch.from_numpy(model.inward_bias_)
        )
    )
    expected = torch.nn.functional.linear(
        hidden, torch.from_numpy(model.outward_), torch.from_numpy(model.outward_bias_)
    )
    np.testing.assert_allclose(model.scores(board), expected.numpy(), atol=1e-4)
