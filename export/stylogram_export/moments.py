"""The gradient that all normalisations by mean and deviation share."""

from collections.abc import Iterable

from .step import Step


def normalised(step: Step, gradient: str, axes: Iterable[int]) -> str:
    """n = (x - mean x) / σ, σ² = var x + ε over `axes`; dx = (dn - mean dn - n · mean(dn · n)) / σ.

    `gradient` is dn. Mean and deviation are found again from x, the input 0.
    """
    over = step.ints(*axes)

    def mean(tensor: str, name: str) -> str:
        return step.op("ReduceMean", tensor, over, name=name, keepdims=1)

    centred = step.sub(step.x(), mean(step.x(), "mean"), name="centred")
    variance = mean(step.mul(centred, centred, name="square"), "variance")
    epsilon = step.const(step.attribute("epsilon", 1e-5))
    sigma = step.op("Sqrt", step.add(variance, epsilon, name="variance"), name="sigma")
    n = step.op("Div", centred, sigma, name="n")
    along = step.mul(n, mean(step.mul(gradient, n, name="product"), "slope"), name="along")
    return step.op("Div", step.sub(step.sub(gradient, mean(gradient, "level"), name="level"), along), sigma)
