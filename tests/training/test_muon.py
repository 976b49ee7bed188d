"""Muon: updates whose singular values are near one, for each matrix of a fused weight."""

import math

import pytest
import torch

from tinyllm.kernels.products import OnednnProducts, Products
from tinyllm.training.muon import Muon, normalize_rows
from tinyllm.training.muon import orthogonalize as orthogonalize_by

PRODUCTS = OnednnProducts(check=True)
SHAPES = [(24, 24), (12, 40), (40, 12), (1, 7), (7, 1), (33, 31)]


def orthogonalize(matrices):
    return orthogonalize_by(matrices, PRODUCTS)


def matrix_with(singular_values, rows, columns, seed=0):
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=generator))
    count = len(singular_values)
    return left[:, :count] @ torch.diag(singular_values) @ right[:, :count].T


def some_matrices(shapes=SHAPES):
    return [
        matrix_with(torch.linspace(0.05, 1, min(shape)), *shape, seed=seed)
        for seed, shape in enumerate(shapes)
    ]


def assert_near_orthogonal(matrix):
    values = torch.linalg.svdvals(matrix)
    assert values.min() >= 0.6
    assert values.max() <= 1.3


def some_weight(rows, columns, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator).requires_grad_()


def trained(weights, gradients, **settings):
    """Copies of `weights` [(weight, count)] after one Muon step for each round of gradients."""
    settings = {"lr": 0.1, "momentum": 0.9, "beta2": 0.0, "weight_decay": 0.0} | settings
    copies = [(weight.detach().clone().requires_grad_(), count) for weight, count in weights]
    optimizer = Muon(copies, PRODUCTS, **settings)
    for of_round in gradients:
        for (weight, _), gradient in zip(copies, of_round, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
    return [weight.detach() for weight, _ in copies]


def normalized(update):
    """The update with rows of one length, and the norm that it had."""
    rows = update / update.norm(dim=1, keepdim=True)
    return rows * (update.norm() / rows.norm())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_singular_values_come_near_one(shape, scale):
    (matrix,) = some_matrices([shape])
    (result,) = orthogonalize([matrix * scale])
    assert result.shape == matrix.shape
    assert_near_orthogonal(result)


def test_singular_values_of_many_come_near_one_together():
    matrices = some_matrices(SHAPES * 2)
    results = orthogonalize(matrices)
    assert [result.shape for result in results] == [matrix.shape for matrix in matrices]
    for result in results:
        assert_near_orthogonal(result)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_data_type_is_kept(dtype):
    (result,) = orthogonalize([some_matrices([(12, 8)])[0].to(dtype)])
    assert result.dtype == dtype
    assert_near_orthogonal(result.float())


@pytest.mark.parametrize("products", [OnednnProducts(check=False), Products()])
def test_all_products_give_the_same_result_up_to_rounding(products):
    matrices = some_matrices()
    results = zip(orthogonalize(matrices), orthogonalize_by(matrices, products), strict=True)
    for ours, other in results:
        torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-3)


def test_singular_vectors_are_kept():
    (matrix,) = some_matrices([(24, 16)])
    (result,) = orthogonalize([matrix])
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ result @ right.T
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), rtol=0, atol=1e-3)
    assert inner.diagonal().min() > 0.6


def test_results_come_in_the_order_of_the_matrices():
    matrices = some_matrices([(12, 40), (24, 24), (12, 40), (40, 12)])
    for matrix, result in zip(matrices, orthogonalize(matrices), strict=True):
        (alone,) = orthogonalize([matrix])
        torch.testing.assert_close(result, alone, rtol=0, atol=1e-4)


def test_orthogonalize_does_not_change_its_input():
    matrices = some_matrices()
    before = [matrix.clone() for matrix in matrices]
    orthogonalize(matrices)
    assert all(torch.equal(a, b) for a, b in zip(matrices, before, strict=True))


def test_zero_matrix_stays_zero():
    assert not orthogonalize([torch.zeros(4, 6)])[0].any()


@pytest.mark.parametrize("count", [2, 3])
def test_fused_weight_is_as_many_weights(count):
    weight = some_weight(12 * count, 10)
    gradients = [[torch.randn(12 * count, 10)] for _ in range(4)]
    (fused,) = trained([(weight, count)], gradients, weight_decay=0.2)
    chunks = [
        trained([(piece, 1)], [[g[0].chunk(count)[index]] for g in gradients], weight_decay=0.2)[0]
        for index, piece in enumerate(weight.chunk(count))
    ]
    torch.testing.assert_close(fused, torch.cat(chunks), rtol=1e-5, atol=1e-5)


def test_fused_weight_differs_from_a_single_matrix():
    gradients = [[torch.randn(36, 10)]]
    (fused,) = trained([(some_weight(36, 10), 3)], gradients)
    (single,) = trained([(some_weight(36, 10), 1)], gradients)
    assert not torch.allclose(fused, single, atol=1e-3)


def test_batched_weights_are_trained_like_single_ones():
    weights = [(some_weight(8, 20), 1), (some_weight(20, 8, seed=1), 2)]
    gradients = [[torch.randn(8, 20), torch.randn(20, 8)] for _ in range(3)]
    together = trained(weights, gradients)
    for index, pair in enumerate(weights):
        (alone,) = trained([pair], [[g[index]] for g in gradients])
        torch.testing.assert_close(together[index], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 16), (10, 30), (30, 10)])
def test_first_update_is_orthogonal_row_normalized_and_scaled_by_the_shape(shape):
    weight, gradient = some_weight(*shape), torch.randn(shape)
    (after,) = trained([(weight, 1)], [[gradient]], lr=0.5, beta2=0.9)
    expected = normalized(orthogonalize([gradient])[0]) * math.sqrt(max(1.0, shape[0] / shape[1]))
    torch.testing.assert_close((weight - after) / 0.5, expected, rtol=1e-3, atol=1e-4)


def test_momentum_is_nesterovs():
    weight, first, second = some_weight(6, 9), torch.randn(6, 9), torch.randn(6, 9)
    before, after = (trained([(weight, 1)], g)[0] for g in ([[first]], [[first], [second]]))
    momentum = 0.9 * (0.1 * first) + 0.1 * second
    (expected,) = orthogonalize([0.1 * second + 0.9 * momentum])
    torch.testing.assert_close((before - after) / 0.1, normalized(expected), rtol=1e-3, atol=1e-4)


def test_without_momentum_the_past_is_forgotten():
    weight, first, second = some_weight(6, 9), torch.randn(6, 9), torch.randn(6, 9)
    both = trained([(weight, 1)], [[first], [second]], momentum=0.0)[0]
    one = trained([(weight, 1)], [[first]], momentum=0.0)[0]
    (expected,) = orthogonalize([second])
    torch.testing.assert_close((one - both) / 0.1, normalized(expected), rtol=1e-3, atol=1e-4)


def test_rows_are_normalized_by_their_running_mean():
    first, second = torch.randn(4, 7), torch.randn(4, 7)
    means = [torch.zeros(4, 1)]
    for update in (first.clone(), second.clone()):
        normalize_rows([update], means, 0.75)
    expected = 0.1875 * first.square().mean(1) + 0.25 * second.square().mean(1)
    torch.testing.assert_close(means[0][:, 0], expected)
    rows = second / expected.sqrt()[:, None]
    torch.testing.assert_close(update, rows * (second.norm() / rows.norm()))


def test_rows_of_zeros_stay():
    update = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    normalize_rows([update], [torch.zeros(2, 1)], 0.9)
    torch.testing.assert_close(update, torch.tensor([[0.0, 0.0], [3.0, 4.0]]))


def test_weight_decay_shrinks_by_its_share():
    weight = some_weight(6, 9)
    (after,) = trained([(weight, 1)], [[torch.zeros(6, 9)]], lr=0.1, weight_decay=0.5)
    torch.testing.assert_close(after, weight.detach() * 0.95)


def test_learning_rate_zero_changes_nothing():
    weight = some_weight(6, 9)
    (after,) = trained([(weight, 1)], [[torch.randn(6, 9)]] * 2, lr=0.0, weight_decay=0.5)
    assert torch.equal(after, weight.detach())


def test_weight_without_gradient_stays():
    still, moving = some_weight(4, 4), some_weight(4, 4, seed=1)
    before = still.detach().clone()
    optimizer = Muon([(still, 1), (moving, 1)], PRODUCTS, 0.1, 0.9, 0.95, 0.5)
    moving.grad = torch.randn(4, 4)
    optimizer.step()
    assert torch.equal(still, before)
    assert not torch.equal(moving, some_weight(4, 4, seed=1))


def test_learning_rate_can_be_changed_between_steps():
    weight = some_weight(6, 6)
    optimizer = Muon([(weight, 1)], PRODUCTS, 0.1, 0.9, 0.95, 0.0)
    optimizer.param_groups[0]["lr"] = 0.0
    weight.grad = torch.randn(6, 6)
    optimizer.step()
    assert torch.equal(weight, some_weight(6, 6))


def test_threads_change_no_bit():
    matrices = some_matrices([(64, 192), (192, 64), (64, 64), (64, 64)])
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        results.append(orthogonalize(matrices))
    torch.set_num_threads(before)
    for one, two, four in zip(*results, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, four)
