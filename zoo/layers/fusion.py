"""Functions of little or no matrix product, which a trainer may have compiled, a kernel each."""

import contextlib

_compile = None


@contextlib.contextmanager
def fusing(compile):
    """Makes `fuse` compile its functions inside.

    Args:
      compile: of (function, settings) to a function of the same arrays, which can be differentiated;
        None to leave functions as they are.
    """
    global _compile
    outer, _compile = _compile, compile
    try:
        yield
    finally:
        _compile = outer


def fuse(function, *arrays, **settings):
    """`function(*arrays, **settings)`, inside of `fusing` as one kernel and in float32 throughout.

    Args:
      function: a module's own, without variables or randomness: one that is made anew at every
        call would be compiled anew. Its result has the dtype that it has of the arrays as they are.
      arrays: of which the last may be None: left out.
      settings: hashable.
    """
    arrays = [array for array in arrays if array is not None]
    if _compile is None:
        return function(*arrays, **settings)
    return _compile(function, **settings)(*arrays)
