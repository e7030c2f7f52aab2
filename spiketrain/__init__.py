"""Train spiking neural networks: explicit states, physical units, exact resume.

Names are imported when they are first used, so that a typo on the command line is answered before JAX starts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
