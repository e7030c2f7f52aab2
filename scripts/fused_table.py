"""Write which models the fused kernel takes, and for which compilers it lowers, to docs/fused-kernels.md.

No device is needed: the kernels of a forward and a backward pass are lowered, not compiled and not run.
The models are those of the tests' table.
"""

import contextlib
import sys
import warnings
from pathlib import Path
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain import environ
from spiketrain.kernels import fused, loop
from spiketrain.kernels.step import Step, inline
from spiketrain.state import ShortTermState

PAGE = Path(__file__).parents[1] / "docs" / "fused-kernels.md"
TARGETS = ("triton", "mosaic", "tpu")


def step_of(model: Any, inputs: Any, batch: tuple[int, ...]) -> tuple[Step, list[Any], list[Any], list[Any]]:
    """Return one step of a model with its products taken out, and what it starts from: consts, carry and trains."""
    model = nnx.clone(model)
    model.init_state(batch)
    graphdef, short, other = nnx.split(model, ShortTermState, ...)
    (carry, carry_tree), (consts, const_tree), (xs, x_tree) = map(jax.tree.flatten, (short, other, inputs))

    def one(consts: Any, carry: Any, x: Any) -> Any:
        short, other = jax.tree.unflatten(carry_tree, carry), jax.tree.unflatten(const_tree, consts)
        model = nnx.merge(graphdef, short, other, copy=True)
        y = model.update(*jax.tree.unflatten(x_tree, x))
        return [*jax.tree.leaves(nnx.state(model, ShortTermState)), *jax.tree.leaves(y)]

    closed = jax.make_jaxpr(one)(consts, carry, [x[0] for x in xs])
    step, arrays = inline(closed, len(consts), len(carry))
    ready = loop.hoisted(step, [*arrays, *consts], xs)
    return ready.step, ready.consts, carry, ready.xs


def lower(target: str, step: Step, consts: list[Any], carry: list[Any], xs: list[Any], **options: Any) -> str:
    """Return the text of a forward and a backward pass, lowered for a target."""

    def run(consts: Any, carry: Any, xs: Any) -> Any:
        return fused.run(step, consts, carry, xs, len(xs[0]), target=target, **options)

    def both(*given: Any) -> Any:
        out, pull = jax.vjp(run, *given)
        return out, pull(out)

    platform = "tpu" if target == "tpu" else "cuda"
    with _device(platform), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The Pallas Triton backend is deprecated")
        traced = jax.jit(both).trace(consts, carry, xs)
        return traced.lower(lowering_platforms=(platform,)).as_text()


def _device(platform: str) -> Any:
    if platform == "tpu" or not hasattr(jax.sharding, "AbstractDevice"):
        return contextlib.nullcontext()
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H200", num_cores=132, platform="gpu")
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("x",), abstract_device=device))


def outcome(row: Any, target: str) -> str:
    """Return "yes", or why a model takes the plain path."""
    step, *given = step_of(row.make(), row.inputs(20, batch=(4,)), (4,))
    if reason := fused.refusal(step, target):
        return reason
    lower(target, step, *given, residuals=jnp.bfloat16)
    return "yes"


def table() -> str:
    """Return one line per model of the tests' table."""
    sys.path.append(str(PAGE.parents[1] / "tests"))
    from models_table import ROWS

    lines = ["| model | Triton | Mosaic GPU | TPU |", "|---|---|---|---|"]
    with environ.context(dt=1.0 * u.ms):
        lines += [f"| {row.name} | {' | '.join(outcome(row, target) for target in TARGETS)} |" for row in ROWS]
    return "\n".join([*lines, "", f"Lowered with jax {jax.__version__}."])


if __name__ == "__main__":
    from readme import put_table

    jax.config.update("jax_platforms", "cpu")
    put_table(PAGE, table(), by="`python scripts/fused_table.py`", name="models")
