import numpy as np
import pytest

from ploutos.agent.fused.products import of_values, of_weight, outputs


@pytest.mark.parametrize("n_out", [1, 3, 7, 8, 20])
@pytest.mark.parametrize("n_in", [1, 6, 64])
def test_small_and_large_products_equal_numpys(n_out, n_in):
    rng = np.random.default_rng(n_out * n_in)
    weight, values, gradient = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((n_out, n_in), (n_in, 33), (n_out, 33))
    )
    out, back, steep = (
        np.full(s, np.nan, np.float32) for s in ((n_out, 33), (n_in, 33), (n_out, n_in))
    )
    outputs(weight, values, out)
    of_values(weight, gradient, back)
    of_weight(gradient, values, steep)
    np.testing.assert_allclose(out, weight @ values, atol=1e-5)
    np.testing.assert_allclose(back, weight.T @ gradient, atol=1e-5)
    np.testing.assert_allclose(steep, gradient @ values.T, atol=3e-5)
