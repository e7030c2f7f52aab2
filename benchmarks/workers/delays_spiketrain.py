"""Forward and backward of layers with learned delays, in several forms that compute the same."""

import json
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[n]) for n in (1, 2)]

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import spiketrain as st
from spiketrain import causal


def loop(x, kernel):
    """Add one product per delay."""
    T = len(x) - len(kernel) + 1
    rows = (x[len(kernel) - 1 - d :][:T].reshape(-1, x.shape[-1]) @ weight for d, weight in enumerate(kernel))
    return sum(rows).reshape(T, x.shape[1], -1)


def conv(x, kernel):
    """Let XLA convolve."""
    return jax.lax.conv_general_dilated(x, kernel[::-1], (1,), [(0, 0)], dimension_numbers=("WNC", "WIO", "WNC"))


def fft(x, kernel):
    """Multiply in the frequencies of XLA's transform."""
    size = 1 << (len(x) - 1).bit_length()
    x_f, k_f = jnp.fft.rfft(x, size, axis=0), jnp.fft.rfft(kernel, size, axis=0)
    return jnp.fft.irfft(jnp.einsum("fbi,fio->fbo", x_f, k_f), size, axis=0)[len(kernel) - 1 : len(x)]


FORMS = {"layer": None, "loop": loop, "columns": causal.by_delays, "conv": conv, "fft": fft}


def over_trial(layer, form, x):
    """Return the output of a layer, by another form of convolution where there is one."""
    return layer(x) if form is None else form(jnp.pad(x, ((layer.steps - 1, 0), (0, 0), (0, 0))), layer.kernel())


def main(T, B, longest, rounds, *sizes):
    """Time every form in every round, and compare the gradients with those of the loop."""
    rng, rngs = np.random.default_rng(0), nnx.Rngs(0)
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    layers = nnx.List([st.LearnedDelays(i, o, longest=float(longest), sigma=1.5, rngs=rngs) for i, o in pairs])
    graphdef, params, rest = nnx.split(layers, nnx.Param, ...)
    x = jnp.asarray(rng.binomial(1, 0.1, (T, B, sizes[0])), jnp.float32)
    c = jnp.asarray(rng.normal(size=(T, B, sizes[-1])), jnp.float32)

    def compiled(form):
        def loss(params):
            y = x
            for layer in nnx.merge(graphdef, params, rest, copy=True):
                y = jnp.tanh(over_trial(layer, form, y))
            return jnp.sum(c * y)

        return jax.jit(jax.value_and_grad(loss))

    steps = {name: compiled(form) for name, form in FORMS.items()}
    slopes = {name: jax.tree.leaves(step(params)[1]) for name, step in steps.items()}  # compiles, too
    differences = {
        name: max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in zip(own, slopes["loop"], strict=True))
        for name, own in slopes.items()
    }
    seconds = {name: [] for name in FORMS}
    for _ in range(rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            jax.block_until_ready(step(params))
            seconds[name].append(time.perf_counter() - started)
    shape = {"T": T, "B": B, "longest": longest, "sizes": sizes}
    print(json.dumps(shape | {"seconds": seconds, "differences": differences}))


if __name__ == "__main__":
    with st.environ.context(dt=1.0 * u.ms):
        main(*map(int, sys.argv[1:]))
