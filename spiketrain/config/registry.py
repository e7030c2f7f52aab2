"""Names that a configuration may use, and what each stands for.

A name is the only thing a configuration can choose: nothing in it is imported, called or evaluated. `register` adds
a name from a user's own package, which the command line imports when told to (`plugins=[my_package]`).
"""

import collections.abc
import copy
import dataclasses
import difflib
import importlib
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from spiketrain.config import schema
from spiketrain.errors import ConfigError

KINDS = (
    "model",
    "layer",
    "readout",
    "neuron",
    "surrogate",
    "reset",
    "data",
    "encoder",
    "augmentation",
    "optimizer",
    "schedule",
    "loss",
    "callback",
)

# What the trainer passes beside the fields of a configuration.
CONTEXT = {
    "model": ("n_in", "n_out", "rngs"),
    "layer": ("in_size", "rngs"),
    "readout": ("in_size", "n_out", "rngs"),
    "neuron": ("size", "rngs"),
    "schedule": ("learning_rate", "steps"),
    "optimizer": ("decayed",),
}


@dataclass(frozen=True)
class Entry:
    """One name: the schema of its arguments and what it builds, an object or `module:attribute`."""

    schema: type
    target: Any

    def load(self) -> Callable[..., Any]:
        """Return what to call."""
        return load(self.target) if isinstance(self.target, str) else self.target

    def defaults(self) -> dict[str, Any]:
        """Return every field at its default, as plain data."""
        return {f.name: default_of(f) for f in dataclasses.fields(self.schema)}


def load(target: str) -> Callable[..., Any]:
    """Return what `module:attribute` names, a name of our own and never one from a configuration."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


_ENTRIES: dict[str, dict[str, Entry]] = {
    "model": {
        "spiking_net": Entry(schema.SpikingNet, "spiketrain.models.spiking_net:SpikingNet"),
        "sequential": Entry(schema.Sequential, "spiketrain.models.sequential:Sequential"),
    },
    "layer": {  # and every neuron
        "linear": Entry(schema.Linear, "spiketrain.layers.linear:linear"),
        "conv": Entry(schema.Conv, "spiketrain.layers.linear:conv"),
        "recurrent": Entry(schema.Recurrent, "spiketrain.layers.linear:recurrent"),
        "learned_delays": Entry(schema.LearnedDelays, "spiketrain.layers.time:learned_delays"),
        "recurrent_delays": Entry(schema.RecurrentDelays, "spiketrain.layers.time:recurrent_delays"),
        "temporal_conv": Entry(schema.TemporalConv, "spiketrain.layers.time:temporal_conv"),
        "depthwise_temporal_conv": Entry(
            schema.DepthwiseTemporalConv, "spiketrain.layers.time:depthwise_temporal_conv"
        ),
        "high_pass": Entry(schema.HighPass, "spiketrain.layers.time:high_pass"),
        "sliding_psn": Entry(schema.SlidingPSN, "spiketrain.layers.time:sliding_psn"),
        "batch_norm": Entry(schema.BatchNorm, "spiketrain.layers.norm:BatchNorm"),
        "threshold_batch_norm": Entry(schema.ThresholdBatchNorm, "spiketrain.layers.norm:ThresholdBatchNorm"),
        "dropout": Entry(schema.Dropout, "spiketrain.layers.dropout:Dropout"),
        "sew": Entry(schema.SEW, "spiketrain.layers.sew:SEW"),
        "spiking_self_attention": Entry(
            schema.SpikingSelfAttention, "spiketrain.layers.attention:SpikingSelfAttention"
        ),
        "flatten": Entry(schema.Flatten, "spiketrain.layers.space:flatten"),
        "reshape": Entry(schema.Reshape, "spiketrain.layers.space:reshape"),
        "pool": Entry(schema.Pool, "spiketrain.layers.space:pool"),
    },
    "readout": {
        "leaky_integrator": Entry(schema.LeakyReadout, "spiketrain.layers.readout:LeakyReadout"),
        "population": Entry(schema.PopulationReadout, "spiketrain.layers.readout:PopulationReadout"),
        "linear": Entry(schema.LinearReadout, "spiketrain.layers.readout:linear_readout"),
    },
    "neuron": {
        "lif": Entry(schema.LIF, "spiketrain.neurons.lif:LIF"),
        "alif": Entry(schema.ALIF, "spiketrain.neurons.alif:ALIF"),
        "se_adlif": Entry(schema.SEAdLIF, "spiketrain.neurons.se_adlif:SEAdLIF"),
        "brf": Entry(schema.BRF, "spiketrain.neurons.brf:BRF"),
        "csilif": Entry(schema.CSiLIF, "spiketrain.neurons.csilif:CSiLIF"),
    },
    "surrogate": {
        "atan": Entry(schema.ATan, "spiketrain.surrogates.sigmoidal:ATan"),
        "erf": Entry(schema.ERF, "spiketrain.surrogates.sigmoidal:ERF"),
        "piecewise_exp": Entry(schema.PiecewiseExp, "spiketrain.surrogates.sigmoidal:PiecewiseExp"),
        "q_pseudo_spike": Entry(schema.QPseudoSpike, "spiketrain.surrogates.sigmoidal:QPseudoSpike"),
        "sigmoid": Entry(schema.Sigmoid, "spiketrain.surrogates.sigmoidal:Sigmoid"),
        "soft_sign": Entry(schema.SoftSign, "spiketrain.surrogates.sigmoidal:SoftSign"),
        "gaussian_grad": Entry(schema.GaussianGrad, "spiketrain.surrogates.bell:GaussianGrad"),
        "inv_square_grad": Entry(schema.InvSquareGrad, "spiketrain.surrogates.bell:InvSquareGrad"),
        "multi_gaussian_grad": Entry(schema.MultiGaussianGrad, "spiketrain.surrogates.bell:MultiGaussianGrad"),
        "nonzero_sign_log": Entry(schema.NonzeroSignLog, "spiketrain.surrogates.bell:NonzeroSignLog"),
        "slayer_grad": Entry(schema.SlayerGrad, "spiketrain.surrogates.bell:SlayerGrad"),
        "superspike": Entry(schema.SuperSpike, "spiketrain.surrogates.bell:SuperSpike"),
        "piecewise_leaky_relu": Entry(schema.PiecewiseLeakyRelu, "spiketrain.surrogates.piecewise:PiecewiseLeakyRelu"),
        "piecewise_quadratic": Entry(schema.PiecewiseQuadratic, "spiketrain.surrogates.piecewise:PiecewiseQuadratic"),
        "relu_grad": Entry(schema.ReluGrad, "spiketrain.surrogates.piecewise:ReluGrad"),
        "triangle": Entry(schema.Triangle, "spiketrain.surrogates.piecewise:Triangle"),
        "leaky_relu": Entry(schema.LeakyRelu, "spiketrain.surrogates.one_sided:LeakyRelu"),
        "log_tailed_relu": Entry(schema.LogTailedRelu, "spiketrain.surrogates.one_sided:LogTailedRelu"),
        "s2nn": Entry(schema.S2NN, "spiketrain.surrogates.one_sided:S2NN"),
        "squarewave_fourier_series": Entry(
            schema.SquarewaveFourierSeries, "spiketrain.surrogates.fourier:SquarewaveFourierSeries"
        ),
    },
    "reset": {
        "soft": Entry(schema.SoftReset, "spiketrain.reset:SoftReset"),
        "hard": Entry(schema.HardReset, "spiketrain.reset:HardReset"),
        "none": Entry(schema.NoReset, "spiketrain.reset:NoReset"),
    },
    "data": {
        "vowels": Entry(schema.Vowels, "spiketrain.data.vowels:load_vowels"),
        "lags": Entry(schema.Lags, "spiketrain.data.lags:load_lags"),
        "npz": Entry(schema.Npz, "spiketrain.data.npz:load_npz"),
        "idx": Entry(schema.Idx, "spiketrain.data.idx:load_idx"),
        "shd": Entry(schema.SHD, "spiketrain.data.speech:load_shd"),
        "ssc": Entry(schema.SSC, "spiketrain.data.speech:load_ssc"),
        "spoken_digits": Entry(schema.SpokenDigits, "spiketrain.data.speech:load_spoken_digits"),
        "nmnist": Entry(schema.NMNIST, "spiketrain.data.recordings:load_nmnist"),
        "gesture": Entry(schema.Gesture, "spiketrain.data.gesture:load_gesture"),
        "recordings": Entry(schema.Recordings, "spiketrain.data.recordings:load_recordings"),
        "events": Entry(schema.EventFile, "spiketrain.data.event_dataset:load_events"),
        "ts": Entry(schema.TimeSeries, "spiketrain.data.time_series:load_ts"),
    },
    "encoder": {
        "direct": Entry(schema.Direct, "spiketrain.encoders.direct:Direct"),
        "rate": Entry(schema.Rate, "spiketrain.encoders.rate:Rate"),
        "latency": Entry(schema.Latency, "spiketrain.encoders.latency:Latency"),
        "log_latency": Entry(schema.LogLatency, "spiketrain.encoders.latency:LogLatency"),
        "rank_order": Entry(schema.RankOrder, "spiketrain.encoders.rank_order:RankOrder"),
        "phase": Entry(schema.Phase, "spiketrain.encoders.phase:Phase"),
        "gaussian_population": Entry(schema.GaussianPopulation, "spiketrain.encoders.population:GaussianPopulation"),
        "delta_modulation": Entry(schema.DeltaModulation, "spiketrain.encoders.delta:DeltaModulation"),
        "step_forward": Entry(schema.StepForward, "spiketrain.encoders.delta:StepForward"),
    },
    "augmentation": {
        "time_shift": Entry(schema.TimeShift, "spiketrain.augmentation.time:TimeShift"),
        "time_stretch": Entry(schema.TimeStretch, "spiketrain.augmentation.time:TimeStretch"),
        "jitter": Entry(schema.Jitter, "spiketrain.augmentation.time:Jitter"),
        "event_drop": Entry(schema.EventDrop, "spiketrain.augmentation.drop:EventDrop"),
        "neuron_mask": Entry(schema.NeuronMask, "spiketrain.augmentation.drop:NeuronMask"),
        "time_mask": Entry(schema.TimeMask, "spiketrain.augmentation.drop:TimeMask"),
        "channel_mask": Entry(schema.ChannelMask, "spiketrain.augmentation.drop:ChannelMask"),
        "channel_roll": Entry(schema.ChannelRoll, "spiketrain.augmentation.channels:ChannelRoll"),
        "mixup": Entry(schema.Mixup, "spiketrain.augmentation.mix:Mixup"),
        "cut_mix": Entry(schema.CutMix, "spiketrain.augmentation.mix:CutMix"),
    },
    "optimizer": {
        "adamw": Entry(schema.AdamW, "spiketrain.training.optimizers:adamw"),
        "sgd": Entry(schema.SGD, "spiketrain.training.optimizers:sgd"),
    },
    "schedule": {
        "constant": Entry(schema.ConstantSchedule, "spiketrain.training.optimizers:constant_schedule"),
        "cosine": Entry(schema.CosineSchedule, "spiketrain.training.optimizers:cosine_schedule"),
        "one_cycle": Entry(schema.OneCycleSchedule, "spiketrain.training.optimizers:one_cycle_schedule"),
    },
    "loss": {
        "cross_entropy": Entry(schema.CrossEntropy, "spiketrain.losses:CrossEntropy"),
        "first_spike": Entry(schema.FirstSpike, "spiketrain.losses:FirstSpike"),
        "van_rossum": Entry(schema.VanRossum, "spiketrain.losses:VanRossum"),
    },
    "callback": {
        "firing_rates": Entry(schema.FiringRates, "spiketrain.training.health:FiringRates"),
        "early_stopping": Entry(schema.EarlyStopping, "spiketrain.training.early_stopping:EarlyStopping"),
        "anneal_delays": Entry(schema.AnnealDelays, "spiketrain.training.anneal_delays:AnnealDelays"),
        "plateau": Entry(schema.Plateau, "spiketrain.training.plateau:Plateau"),
    },
}


def lookup(kind: str, name: Any, where: str) -> Entry:
    """Return the entry of `name`, or raise an error with the nearest name."""
    entries = _of(kind)
    if isinstance(name, str) and name in entries:
        return entries[name]
    raise ConfigError(f"{where}.name = {name!r} is no {kind}.{did_you_mean(str(name), entries)}")


def _of(kind: str) -> dict[str, Entry]:
    """Return the entries that a choice of a kind has: every neuron is a layer."""
    return _ENTRIES["layer"] | _ENTRIES["neuron"] if kind == "layer" else _ENTRIES[kind]


def names(kind: str) -> list[str]:
    """Return the registered names of a kind."""
    return sorted(_ENTRIES[kind])


def names_of_choice(kind: str) -> list[str]:
    """Return the names that a choice of a kind may have."""
    return sorted(_of(kind))


def names_with_field(kind: str, field: Any) -> list[str]:
    """Return the names of a kind that have a field of that name."""
    return sorted(n for n, e in _of(kind).items() if field in {f.name for f in dataclasses.fields(e.schema)})


def default_of(f: dataclasses.Field) -> Any:
    """Return the default of a field, a copy of its own."""
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default


def did_you_mean(word: str, valid: Any) -> str:
    """Return ` Did you mean ...?` with the nearest valid word, followed by all of them."""
    near = difflib.get_close_matches(word.lower(), list(valid), n=1, cutoff=0.5)
    return (f" Did you mean `{near[0]}`?" if near else "") + f" Valid: {', '.join(sorted(valid))}."


def register(kind: str, name: str, *, schema: type | None = None) -> Callable[[Any], Any]:
    """Give a class or function of your own a name that a configuration can use.

    A model is called as `f(n_in, n_out, rngs=..., **fields)`, a data set as `f(**fields)` and returns a
    `spiketrain.Dataset`. An optimizer is called with a schedule as its `learning_rate`, a schedule as
    `f(learning_rate, steps, **fields)`, a neuron as `f(size, rngs=..., **fields)`, a layer as
    `f(in_size, rngs=..., **fields)` (see `spiketrain.layers.stack.Stack`), a readout as
    `f(in_size, n_out, rngs=..., **fields)`, the others as `f(**fields)`. Groups and constraints of an optimizer are
    ours; one with an argument `decayed` gets None where its decay acts on all. Every neuron is also a layer.

    In a package `mine` that is installed or in the current folder:

        @register("model", "two_layers")
        class TwoLayers(nnx.Module):
            def __init__(self, n_in, n_out, *, width: int = 64, rngs): ...

    and on the command line, where the name is an option of its group and starts from the defaults of the signature:

        spiketrain-train plugins=[mine] model=two_layers model.width=32

    Args:
        kind: one of `model`, `layer`, `readout`, `neuron`, `surrogate`, `reset`, `data`, `encoder`, `augmentation`,
            `optimizer`, `schedule`, `loss`, `callback`.
        name: the name in the configuration; a taken one is refused.
        schema: a dataclass of its fields; read from the keyword arguments, their annotations and defaults unless it
            is given. They may be numbers, words, true or false, None, and lists of these.

    Raises:
        ConfigError: the kind is unknown, the name is taken, or an argument has no default that YAML could hold.
    """
    if kind not in KINDS:
        raise ConfigError(f"register(kind=...) got {kind!r}.{did_you_mean(kind, KINDS)}")

    def add(target: Any) -> Any:
        taken = (_of("layer") if kind == "neuron" else _of(kind)).get(name)
        if taken is not None and _origin(taken.target) != _origin(target):
            raise ConfigError(f"register({kind!r}, {name!r}): the name is taken by {taken.target}. Choose another.")
        fields = schema or _schema_of(target, kind, name)
        if kind == "optimizer" and "learning_rate" not in {f.name for f in dataclasses.fields(fields)}:
            raise ConfigError(f"register('optimizer', {name!r}) needs an argument `learning_rate: float = ...`.")
        fields = _with_groups(fields, name) if kind == "optimizer" else fields
        _ENTRIES[kind][name] = Entry(fields, target)
        return target

    return add


def parameters_of(target: Any) -> Any:
    """Return the parameters of a function, or of the constructor of a class, by name."""
    constructor = typing.cast(Any, target).__init__ if isinstance(target, type) else target
    return inspect.signature(constructor, eval_str=True).parameters


def _origin(target: Any) -> Any:
    return getattr(target, "__module__", None), getattr(target, "__qualname__", target)


def _with_groups(fields: Any, name: str) -> type:
    """Return the schema of an optimizer with what every optimizer may be told."""
    if issubclass(fields, schema.Optimizer):
        return fields
    taken = {f.name for f in dataclasses.fields(fields)} & {f.name for f in dataclasses.fields(schema.Optimizer)}
    if taken:
        raise ConfigError(
            f"register('optimizer', {name!r}) may have no argument `{min(taken)}`: every optimizer takes it from us."
        )
    return dataclasses.make_dataclass(fields.__name__, [], bases=(fields, schema.Optimizer))


def _schema_of(target: Any, kind: str, name: str) -> type:
    fields = []
    for parameter in parameters_of(target).values():
        if parameter.name in ("self", *CONTEXT.get(kind, ())) or parameter.kind in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        ):
            continue
        where = f"register({kind!r}, {name!r}): the argument {parameter.name!r}"
        if parameter.default is parameter.empty:
            raise ConfigError(f"{where} needs a default.")
        default = _plain(parameter.default, where)
        hint = Any if parameter.annotation is parameter.empty else _hint(parameter.annotation, where)
        hint = hint if default is not None or hint is Any else hint | None
        if isinstance(default, list | dict):
            default = dataclasses.field(default_factory=partial(copy.deepcopy, default))
        fields.append((parameter.name, hint, default))
    return dataclasses.make_dataclass(name, fields)


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(v, where) for v in value]
    if isinstance(value, dict):
        return {str(key): _plain(v, where) for key, v in value.items()}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise ConfigError(f"{where} has the default {value!r}, which YAML cannot hold. Write a number, a word or a list.")


def _hint(annotation: Any, where: str) -> Any:
    """Return an annotation in the terms that a configuration is checked in."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        hints = [None if option is type(None) else _hint(option, where) for option in inner]
        return Any if Any in hints else typing.Union[tuple(hints)]  # noqa: UP007
    if annotation in (list, tuple) or origin in (list, tuple, collections.abc.Sequence):
        return list[_hint(inner[0], where) if inner else Any]  # type: ignore[misc]
    if annotation in (Any, bool, int, float, str, dict):
        return Any if annotation is dict else annotation
    raise ConfigError(
        f"{where} is annotated with {annotation}. Annotate it with bool, int, float, str or a list of one of them, "
        "or give register(schema=...)."
    )
