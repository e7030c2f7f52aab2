"""What a configuration may say: one dataclass per group, one per named choice.

A field whose name ends in a unit (`tau_ms`) is the constructor argument without the suffix, times that unit.
`physical()` fields take a number or `{low: ..., high: ...}`, drawn uniformly per neuron. `choice(kind)` fields take
`{name: ..., ...}`, resolved by the registry, `choices(kind)` fields a mapping from names to fields, and `named(kind)`
fields a mapping from names of the user's own to choices. A test holds every schema equal to its constructor's
signature.
"""

from dataclasses import dataclass, field
from typing import Any

UNITS = ("ms", "mV", "Mohm", "nS", "nA")
CONSTRAINTS = ("non_negative", "non_positive", "keep_sign", "dale", "keep_zeros")
PRECISIONS = ("float32", "bf16x3", "bf16x2", "bf16")
READOUTS = ("mean_over_time", "sum_over_time", "sum_of_softmax", "last_step", "max_over_time")


def physical(default: Any, *, bounded: bool = False) -> Any:
    """Declare a physical argument: a number, `{low, high}`, or None where None is the default.

    A `bounded` one that is drawn from `{low, high}` and trained stays between them.
    """
    return field(default=default, metadata={"physical": True, "bounded": bounded})


def choice(kind: str, name: str) -> Any:
    """Declare a nested choice of one `kind`, `name` by default."""
    return field(default_factory=lambda: {"name": name}, metadata={"choice": kind})


def choices(kind: str, *names: str) -> Any:
    """Declare a mapping from names of one `kind` to their fields, these `names` by default."""
    return field(default_factory=lambda: {name: {} for name in names}, metadata={"choices": kind})


def named(kind: str) -> Any:
    """Declare a mapping from names of the user's choosing to choices of one `kind`, none by default, in order."""
    return field(default_factory=dict, metadata={"named": kind})


def trainable() -> Any:
    """Declare the list of physical arguments that are trained, none by default."""
    return field(default_factory=list, metadata={"trainable": True})


def one_of(*words: str) -> Any:
    """Declare a word that must be one of `words`, the first by default."""
    return field(default=words[0], metadata={"one_of": words})


def by_pattern(what: str) -> Any:
    """Declare a mapping from patterns of parameter paths, such as `*/tau*`, to a `group` or to `constraint`s."""
    return field(default_factory=dict, metadata={"by_pattern": what})


@dataclass
class SoftReset:
    """See `spiketrain.SoftReset`."""

    detach: bool = False


@dataclass
class HardReset:
    """See `spiketrain.HardReset`."""

    detach: bool = False


@dataclass
class NoReset:
    """See `spiketrain.NoReset`."""


@dataclass
class ATan:
    """See `spiketrain.ATan`."""

    alpha: float = 2.0


@dataclass
class ERF:
    """See `spiketrain.ERF`."""

    alpha: float = 1.0


@dataclass
class PiecewiseExp:
    """See `spiketrain.PiecewiseExp`."""

    alpha: float = 1.0


@dataclass
class QPseudoSpike:
    """See `spiketrain.QPseudoSpike`."""

    alpha: float = 2.0


@dataclass
class Sigmoid:
    """See `spiketrain.Sigmoid`."""

    alpha: float = 4.0


@dataclass
class SoftSign:
    """See `spiketrain.SoftSign`."""

    alpha: float = 1.0


@dataclass
class GaussianGrad:
    """See `spiketrain.GaussianGrad`."""

    sigma: float = 0.5
    alpha: float = 0.5


@dataclass
class InvSquareGrad:
    """See `spiketrain.InvSquareGrad`."""

    alpha: float = 100.0


@dataclass
class MultiGaussianGrad:
    """See `spiketrain.MultiGaussianGrad`."""

    h: float = 0.15
    s: float = 6.0
    sigma: float = 0.5
    scale: float = 0.5


@dataclass
class NonzeroSignLog:
    """See `spiketrain.NonzeroSignLog`."""

    alpha: float = 1.0


@dataclass
class SlayerGrad:
    """See `spiketrain.SlayerGrad`."""

    alpha: float = 1.0


@dataclass
class SuperSpike:
    """See `spiketrain.SuperSpike`."""

    alpha: float = 10.0


@dataclass
class PiecewiseLeakyRelu:
    """See `spiketrain.PiecewiseLeakyRelu`."""

    c: float = 0.01
    w: float = 1.0


@dataclass
class PiecewiseQuadratic:
    """See `spiketrain.PiecewiseQuadratic`."""

    alpha: float = 1.0


@dataclass
class ReluGrad:
    """See `spiketrain.ReluGrad`."""

    alpha: float = 0.3
    width: float = 1.0


@dataclass
class Triangle:
    """See `spiketrain.Triangle`."""

    gamma: float = 1.0


@dataclass
class LeakyRelu:
    """See `spiketrain.LeakyRelu`."""

    alpha: float = 0.1
    beta: float = 1.0


@dataclass
class LogTailedRelu:
    """See `spiketrain.LogTailedRelu`."""

    alpha: float = 0.0


@dataclass
class S2NN:
    """See `spiketrain.S2NN`."""

    alpha: float = 4.0
    beta: float = 1.0


@dataclass
class SquarewaveFourierSeries:
    """See `spiketrain.SquarewaveFourierSeries`."""

    n: int = 2
    t_period: float = 8.0


@dataclass
class LIF:
    """See `spiketrain.LIF`. `trainable` names the arguments that are trained per neuron."""

    R: Any = physical(1.0)
    tau_ms: Any = physical(20.0)
    V_th: Any = physical(1.0)
    V_reset: Any = physical(None)
    V_rest: Any = physical(0.0)
    V_initializer: Any = physical(None)
    tau_ref_ms: Any = physical(None)
    reset: Any = choice("reset", "soft")
    surrogate: Any = choice("surrogate", "atan")
    trainable: list[str] = trainable()


@dataclass
class ALIF(LIF):
    """See `spiketrain.ALIF`. `trainable` names the arguments that are trained per neuron."""

    tau_a_ms: Any = physical(200.0)
    beta: Any = physical(0.1)


@dataclass
class SEAdLIF(LIF):
    """See `spiketrain.SEAdLIF`. Of the arguments in `trainable`, tau, tau_w, a and b stay between `low` and `high`."""

    tau_ms: Any = physical(15.0, bounded=True)
    tau_w_ms: Any = physical(180.0, bounded=True)
    a: Any = physical(60.0, bounded=True)
    b: Any = physical(60.0, bounded=True)
    reset: Any = choice("reset", "hard")


@dataclass
class BRF(LIF):
    """See `spiketrain.BRF`. `trainable` names the arguments that are trained per neuron."""

    tau_ms: Any = physical(50.0)
    period_ms: Any = physical(80.0)
    beta: Any = physical(1.0)
    kappa: Any = physical(0.5)
    tau_q_ms: Any = physical(10.0)
    reset: Any = choice("reset", "none")


@dataclass
class CSiLIF(LIF):
    """See `spiketrain.CSiLIF`. `trainable` names the arguments that are trained per neuron."""

    period_ms: Any = physical(40.0)
    speed: Any = physical(1.0)


@dataclass
class SpikingNet:
    """See `spiketrain.models.spiking_net.SpikingNet`."""

    hidden: list[int] = field(default_factory=lambda: [128])
    neuron: Any = choice("neuron", "alif")
    recurrent: bool = True
    input_scale: float = 1.0
    hidden_scale: float = 1.0
    recurrent_scale: float = 1.0
    readout_tau_ms: float = 20.0
    readout_scale: float = 1.0
    dropout: float = 0.0
    precision: str = one_of(*PRECISIONS)


@dataclass
class Linear:
    """See `spiketrain.layers.linear.linear`."""

    features: int = 128
    scale: float = 1.0
    bias: bool = True
    precision: str = one_of(*PRECISIONS)


@dataclass
class Conv:
    """See `spiketrain.layers.linear.conv`."""

    features: int = 16
    kernel: int | list[int] = 3
    stride: int | list[int] = 1
    padding: str | int = "SAME"
    pool: int | list[int] = 1
    scale: float = 1.0


@dataclass
class Recurrent:
    """See `spiketrain.layers.linear.recurrent`."""

    neuron: Any = choice("neuron", "alif")
    weight: str = one_of("normal", "orthogonal")
    scale: float = 1.0
    precision: str = one_of(*PRECISIONS)


@dataclass
class LearnedDelays:
    """See `spiketrain.layers.time.learned_delays`."""

    features: int = 128
    longest_ms: float = 25.0
    scale: float = 1.0


@dataclass
class RecurrentDelays:
    """See `spiketrain.layers.time.recurrent_delays`."""

    neuron: Any = choice("neuron", "alif")
    longest_ms: float = 25.0
    scale: float = 1.0


@dataclass
class DepthwiseTemporalConv:
    """See `spiketrain.layers.time.depthwise_temporal_conv`."""

    steps: int = 5


@dataclass
class TemporalConv(DepthwiseTemporalConv):
    """See `spiketrain.layers.time.temporal_conv`."""

    features: int = 128
    scale: float = 1.0


@dataclass
class HighPass:
    """See `spiketrain.HighPass`."""

    tau_ms: Any = physical(50.0)
    trainable: list[str] = trainable()


@dataclass
class SlidingPSN:
    """See `spiketrain.SlidingPSN`."""

    steps: int = 8
    V_th: Any = physical(1.0)
    surrogate: Any = choice("surrogate", "atan")
    trainable: list[str] = trainable()


@dataclass
class BatchNorm:
    """See `spiketrain.layers.norm.BatchNorm`."""

    momentum: float = 0.9
    epsilon: float = 1e-5


@dataclass
class ThresholdBatchNorm(BatchNorm):
    """See `spiketrain.layers.norm.ThresholdBatchNorm`."""

    V_th: float = 1.0
    alpha: float = 1.0


@dataclass
class Dropout:
    """See `spiketrain.layers.dropout.Dropout`."""

    rate: float = 0.5
    channels: bool = False


@dataclass
class Flatten:
    """See `spiketrain.layers.space.Flatten`."""


@dataclass
class Reshape:
    """See `spiketrain.layers.space.Reshape`."""

    size: list[int] | None = None
    channels_first: bool = False


@dataclass
class Pool:
    """See `spiketrain.layers.space.Pool`."""

    window: int | list[int] = 2
    take: str = one_of("mean", "max")


@dataclass
class SEW:
    """See `spiketrain.layers.sew.SEW`."""

    layers: dict[str, Any] = named("layer")
    shortcut: dict[str, Any] = named("layer")
    join: str = one_of("add", "and", "iand")


@dataclass
class SpikingSelfAttention:
    """See `spiketrain.layers.attention.SpikingSelfAttention`."""

    heads: int = 8
    scale: float = 0.125
    neuron: Any = choice("neuron", "lif")


@dataclass
class LinearReadout:
    """See `spiketrain.layers.readout.linear_readout`."""

    scale: float = 1.0
    precision: str = one_of(*PRECISIONS)


@dataclass
class LeakyReadout(LinearReadout):
    """See `spiketrain.layers.readout.LeakyReadout`."""

    tau_ms: float = 20.0


@dataclass
class PopulationReadout(LinearReadout):
    """See `spiketrain.layers.readout.PopulationReadout`."""

    neuron: Any = choice("neuron", "lif")
    per_class: int = 10


@dataclass
class Sequential:
    """See `spiketrain.models.sequential.Sequential`."""

    layers: dict[str, Any] = named("layer")
    readout: Any = choice("readout", "leaky_integrator")


@dataclass
class Vowels:
    """The Japanese Vowels that ship with spiketrain; `path` names another copy of the file."""

    path: str | None = None
    standardize: bool = True
    differences: bool = False


@dataclass
class Lags:
    """See `spiketrain.data.lags.load_lags`."""

    classes: int = 5
    pairs: int = 10
    steps: int = 100
    shortest: int = 5
    longest: int = 25
    rate: float = 0.03
    jitter: int = 0
    train_trials: int = 2000
    test_trials: int = 1000
    seed: int = 0


@dataclass
class Npz:
    """Your own arrays; see `spiketrain.data.npz.load_npz`."""

    path: str = ""
    stream: bool = False


@dataclass
class Idx:
    """Images of the MNIST family; see `spiketrain.data.idx.load_idx`."""

    path: str | None = None
    source: str = one_of("mnist", "fashion")
    layout: str = one_of("rows", "pixels", "image")
    permute_seed: int | None = None
    pool: int = 1


@dataclass
class Binned:
    """Events in steps of `bin_ms`; see `spiketrain.data.event_dataset`."""

    path: str | None = None
    bin_ms: float = 10.0
    steps: int | None = None
    pool: int = 1
    clip: bool = False
    padding: str = one_of("after_last_event", "none")
    stream: bool = False


@dataclass
class SHD(Binned):
    """Spiking Heidelberg Digits; see `spiketrain.data.speech.load_shd`."""

    validation_speaker: int | None = None


@dataclass
class SSC(Binned):
    """Spiking Speech Commands; see `spiketrain.data.speech.load_ssc`."""


@dataclass
class SpokenDigits(Binned):
    """Digits of six speakers; see `spiketrain.data.speech.load_spoken_digits`."""

    bin_ms: float = 8.0

    held_out_speaker: int | None = None
    validation_speaker: int | None = None


@dataclass
class NMNIST(Binned):
    """Handwritten digits from an event camera; see `spiketrain.data.recordings.load_nmnist`."""


@dataclass
class Gesture(Binned):
    """Gestures from an event camera; see `spiketrain.data.gesture.load_gesture`."""

    bin_ms: float = 20.0
    pool: int = 4


@dataclass
class Recordings(Binned):
    """Your own recordings from event cameras; see `spiketrain.data.recordings.load_recordings`."""

    path: str = ""
    height: int = 128
    width: int = 128


@dataclass
class EventFile(Binned):
    """Your own events; see `spiketrain.data.event_dataset.load_events`."""

    path: str = ""


@dataclass
class TimeSeries:
    """Time series in `.ts` or `.tsv`; see `spiketrain.data.time_series.load_ts`."""

    path: str = ""
    standardize: bool = True
    missing: str = one_of("refuse", "hold", "zero")


@dataclass
class Randman:
    """Points on smooth random manifolds as spike times; see `spiketrain.data.randman.load_randman`."""

    classes: int = 10
    units: int = 20
    steps: int = 50
    dimension: int = 1
    alpha: float = 2.0
    modes: int = 32
    trials: int = 1000
    test_trials: int = 200
    seed: int = 0


@dataclass
class Direct:
    """See `spiketrain.Direct`."""

    hold: int = 1
    noise: float = 0.0
    offset: float = 0.0
    offset_channels: int | None = None


@dataclass
class Image:
    """See `spiketrain.Image`."""

    width: int = 28
    shift: int = 0
    mirror: bool = False
    mean: float = 0.0
    std: float = 1.0
    hold: int = 1


@dataclass
class Rate:
    """See `spiketrain.Rate`."""

    steps: int = 1
    rate_hz: float | None = None


@dataclass
class Latency:
    """See `spiketrain.Latency`."""

    steps: int = 100
    threshold: float = 0.0


@dataclass
class LogLatency:
    """See `spiketrain.LogLatency`."""

    steps: int = 100
    tau_ms: float = 20.0
    threshold: float = 0.01


@dataclass
class RankOrder:
    """See `spiketrain.RankOrder`."""

    steps: int = 100


@dataclass
class Phase:
    """See `spiketrain.Phase`."""

    steps: int = 8


@dataclass
class GaussianPopulation:
    """See `spiketrain.GaussianPopulation`."""

    n: int = 8
    low: float = 0.0
    high: float = 1.0
    beta: float = 1.5
    then: Any = choice("encoder", "direct")


@dataclass
class DeltaModulation:
    """See `spiketrain.DeltaModulation`."""

    threshold: float = 0.1


@dataclass
class StepForward:
    """See `spiketrain.StepForward`."""

    threshold: float = 0.1


@dataclass
class TimeShift:
    """See `spiketrain.augmentation.time.TimeShift`."""

    steps: int = 5


@dataclass
class TimeStretch:
    """See `spiketrain.augmentation.time.TimeStretch`."""

    factor: float = 1.2


@dataclass
class Jitter:
    """See `spiketrain.augmentation.time.Jitter`."""

    steps: int = 1


@dataclass
class EventDrop:
    """See `spiketrain.augmentation.drop.EventDrop`."""

    rate: float = 0.1


@dataclass
class NeuronMask:
    """See `spiketrain.augmentation.drop.NeuronMask`."""

    rate: float = 0.1


@dataclass
class TimeMask:
    """See `spiketrain.augmentation.drop.TimeMask`."""

    steps: int = 10
    count: int = 1


@dataclass
class ChannelMask:
    """See `spiketrain.augmentation.drop.ChannelMask`."""

    channels: int = 10
    count: int = 1


@dataclass
class ChannelRoll:
    """See `spiketrain.augmentation.channels.ChannelRoll`."""

    channels: int = 5


@dataclass
class Mixup:
    """See `spiketrain.augmentation.mix.Mixup`."""

    alpha: float = 0.2


@dataclass
class CutMix:
    """See `spiketrain.augmentation.mix.CutMix`."""

    alpha: float = 1.0


@dataclass
class Optimizer:
    """What every optimizer may be told.

    `groups` gives the parameters that a pattern matches settings of their own, or freezes them; `constraints` keeps
    weights within some of `CONSTRAINTS`. Of several patterns the first that matches counts.
    """

    groups: dict[str, Any] = by_pattern("group")
    constraints: dict[str, Any] = by_pattern("constraint")


@dataclass
class AdamW(Optimizer):
    """AdamW. Weight decay acts on matrices of weights: not on biases, time constants, delays; that of a group on all of it."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float | None = 1.0


@dataclass
class SGD(Optimizer):
    """Stochastic gradient descent with momentum."""

    learning_rate: float = 1e-2
    momentum: float = 0.9
    nesterov: bool = False
    clip_norm: float | None = 1.0


@dataclass
class ConstantSchedule:
    """The learning rate stays as it is, after a linear warm-up over a fraction of all steps."""

    warmup: float = 0.0


@dataclass
class CosineSchedule:
    """Linear warm-up over a fraction of all steps, then a half cosine down to `final` times the learning rate."""

    warmup: float = 0.0
    final: float = 0.0


@dataclass
class OneCycleSchedule:
    """A half cosine from `start` times the learning rate up to it, and one down to `final` times it."""

    warmup: float = 0.3
    start: float = 0.04
    final: float = 4e-6


@dataclass
class Loss:
    """See `spiketrain.losses.Loss`."""

    label_smoothing: float = 0.0
    rate_weight: float = 0.0
    rate_lower_hz: float = 0.0
    rate_upper_hz: float = 1000.0
    synchrony_weight: float = 0.0
    membrane_weight: float = 0.0
    membrane_lower: float = -1.0
    membrane_upper: float = 1.0


@dataclass
class CrossEntropy(Loss):
    """See `spiketrain.losses.CrossEntropy`."""

    readout: str = one_of(*READOUTS)


@dataclass
class FirstSpike(Loss):
    """See `spiketrain.losses.FirstSpike`."""

    tau_ms: float = 5.0


@dataclass
class VanRossum(Loss):
    """See `spiketrain.losses.VanRossum`."""

    tau_ms: float = 10.0
    period_ms: float = 10.0


@dataclass
class FiringRates:
    """See `spiketrain.training.health.FiringRates`."""

    steps: int = 100
    saturated: float = 0.5


@dataclass
class AimAtRate:
    """See `spiketrain.training.aim.AimAtRate`."""

    rate_hz: float = 10.0
    trials: int = 128


@dataclass
class EarlyStopping:
    """See `spiketrain.training.early_stopping.EarlyStopping`."""

    monitor: str = "validation/loss"
    patience: int = 10
    min_delta: float = 0.0
    mode: str | None = None


@dataclass
class Plateau:
    """See `spiketrain.training.plateau.Plateau`."""

    monitor: str = "validation/loss"
    patience: int = 10
    factor: float = 0.5
    least: float = 0.01
    min_delta: float = 0.0
    mode: str | None = None


@dataclass
class AnnealDelays:
    """See `spiketrain.training.anneal_delays.AnnealDelays`."""

    start_steps: float = 12.0
    final_steps: float = 0.5
    fraction: float = 0.75
    rounded: float = 0.0


@dataclass
class TrainerSettings:
    """How long, how large, how often."""

    epochs: int = 100
    batch_size: int = 32
    eval_batch_size: int = 256
    validation_fraction: float = 0.1
    validation_seed: int = 0
    evaluate_every: int = 1
    save_every: int = 10
    save_every_steps: int | None = None
    keep_best: int = 1
    monitor: str = one_of("validation/accuracy", "validation/loss")
    final: str = one_of("last", "best")
    log_every_steps: int = 10
    accumulate: int = 1
    ema_decay: float | None = None
    non_finite: str = one_of("raise", "skip", "roll_back")
    devices: int | None = None
    fsdp: int = 1
    workers: int = 0
    length_buckets: int | None = None
    piece_steps: int | None = None
    memory_mb: float | None = None
    truncate: bool = False
    residuals: str = one_of("float32", "bfloat16")
    overfit_batch: bool = False
    debug_nans: bool = False
    profile: list[int] | None = None


@dataclass
class LoggerSettings:
    """What is written while training, besides `metrics.jsonl`."""

    tensorboard: bool = True
    pictures: bool = True
    pictures_every_minutes: float = 5.0
    progress: bool = True


@dataclass
class Config:
    """A whole run."""

    name: str = "run"
    seed: int = 0
    ensemble: int = 1
    dt_ms: float = 1.0
    model: Any = choice("model", "spiking_net")
    data: Any = choice("data", "vowels")
    encoder: Any = choice("encoder", "direct")
    augmentations: dict[str, Any] = named("augmentation")
    optimizer: Any = choice("optimizer", "adamw")
    schedule: Any = choice("schedule", "cosine")
    loss: Any = choice("loss", "cross_entropy")
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    logger: LoggerSettings = field(default_factory=LoggerSettings)
    callbacks: Any = choices("callback", "firing_rates")
    init_from: str | None = None
    distributed: bool = False
    plugins: list[str] = field(default_factory=list)
