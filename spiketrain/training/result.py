"""What a run ends with, as JSON: how large, how long, and the metrics of what was held out."""

from typing import TYPE_CHECKING, Any

import jax

if TYPE_CHECKING:
    from spiketrain.training.trainer import Trainer


def result_of(trainer: "Trainer") -> dict[str, Any]:
    """Evaluate what a trainer holds on its validation and test trials, and return that with what it took.

    The metrics of an ensemble are the means over its members; those of each are under `members`, and `parameters` are
    those of one.
    """
    params = jax.tree.leaves(trainer.layout.state(trainer.leaves).params)
    held = [name for name in ("validation", "test") if name in trainer.splits]
    compiled = trainer.log.compiled
    result: dict[str, Any] = {
        "step": trainer.step,
        "seed": trainer.seed,
        "parameters": sum(x.size for x in params) // max(trainer.members, 1),
        "devices": trainer.mesh.size,
        "seconds": round(trainer.log.seconds, 2),
        **{name: trainer.evaluate(name) for name in held},
        "compilations": compiled.programs,
        "compile_seconds": round(compiled.seconds, 2),
    }
    if trainer.members:
        of_members = {name: trainer.evaluate_members(name) for name in held}
        result["members"] = [
            {"seed": trainer.seed + k} | {name: metrics[k] for name, metrics in of_members.items()}
            for k in range(trainer.members)
        ]
    return result
