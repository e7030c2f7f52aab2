"""Direct coding of images, which are moved and mirrored at random in training."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.encoders.base import Train, hold, require_positive, without_padding
from spiketrain.errors import DomainError, ShapeError


@dataclass(frozen=True)
class Image:
    r"""Inject the pixels of an image, standardised, as currents: $(x - \mathrm{mean}) / \mathrm{std}$.

    A trial is one image, whether its rows are steps or all of it is one step. In training it is moved by a whole number
    of pixels, uniform in $[-n, n]$ with n = `shift` for each axis; pixels that come from outside are zero.

    Args:
        width: the number of pixels of a row.
        shift: the largest distance that an image is moved by, in pixels.
        mirror: whether every other image, at random, has left and right exchanged in training.
        mean: what is subtracted from every pixel.
        std: what every pixel is divided by, after that.
        hold: the number of steps for which a frame is held.

    Input and output: `(T, B, C)` in, where C is a multiple of the width, and `(T * hold, B, C)` out.

    Raises:
        DomainError: a size is not positive, or the shift is negative.
        ShapeError: frames are no whole rows.
    """

    width: int = 28
    shift: int = 0
    mirror: bool = False
    mean: float = 0.0
    std: float = 1.0
    hold: int = 1

    def __post_init__(self) -> None:
        require_positive("Image", width=self.width, std=self.std)
        for name, least in (("hold", 1), ("shift", 0)):
            if getattr(self, name) < least:
                raise DomainError(f"Image({name}=...) must be at least {least}, got {getattr(self, name)}.")

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None = None) -> Train:
        """Return the train and its mask; padded steps are zero."""
        if x.shape[-1] % self.width:
            raise ShapeError(
                f"Image(width={self.width}) expects frames of whole rows, got {x.shape[-1]} channels. "
                "Write the width of the images, for example `width=28`."
            )
        x = without_padding(x, mask)
        if key is not None:
            x = self._varied(x, key)
        x = without_padding((x - self.mean) / self.std, mask)
        return hold(x, self.hold), hold(mask, self.hold)

    def _varied(self, x: jax.Array, key: jax.Array) -> jax.Array:
        steps, trials, channels = x.shape
        images = x.swapaxes(0, 1).reshape(trials, -1, self.width)
        *places, side = jax.random.split(key, 3)
        for axis, place in enumerate(places, start=1):
            images = _moved(images, jax.random.randint(place, (trials,), -self.shift, self.shift + 1), axis)
        if self.mirror:
            images = jnp.where(jax.random.bernoulli(side, shape=(trials, 1, 1)), images[..., ::-1], images)
        return images.reshape(trials, steps, channels).swapaxes(0, 1)


def _moved(images: jax.Array, by: jax.Array, axis: int) -> jax.Array:
    """Return every image moved by its own number of pixels along an axis, with zeros where it was not."""
    shape = tuple(-1 if i == axis else 1 for i in range(3))
    source = jnp.arange(images.shape[axis]).reshape(shape) - by[:, None, None]
    inside = (source >= 0) & (source < images.shape[axis])
    return jnp.where(inside, jnp.take_along_axis(images, source % images.shape[axis], axis=axis), 0)
