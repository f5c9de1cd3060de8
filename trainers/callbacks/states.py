"""What callbacks remember, so that a checkpoint can hold it: EarlyStopping's patience and the like."""

import inspect

PLAIN = (bool, int, float, str, type(None))


class CallbackStates:
    """The plain attributes of callbacks that have changed since training began.

    Others are what the user chose, who may choose anew, or what JSON cannot hold. What a callback
    has made of an argument is left to it to make again: EarlyStopping turns the sign of `min_delta`.

    Args:
      callbacks: the user's; of two of a class the order says which is which.
    """

    def __init__(self, callbacks):
        self.callbacks = callbacks
        self.first = [plain(callback) for callback in callbacks]

    def get(self):
        """[[name of the class, {attribute: value}]], for JSON."""
        found = []
        for callback, first in zip(self.callbacks, self.first, strict=True):
            chosen = inspect.signature(type(callback).__init__).parameters
            changed = {
                name: value
                for name, value in plain(callback).items()
                if name not in chosen and (name not in first or first[name] != value)
            }
            found.append([type(callback).__name__, changed])
        return found

    def chosen(self):
        """[[name of the class, {attribute: value}]], for JSON, before training changed anything."""
        names = [type(callback).__name__ for callback in self.callbacks]
        return [[name, first] for name, first in zip(names, self.first, strict=True)]

    def set(self, states):
        """Gives each what it had, as far as the callbacks are still the same."""
        # By class: on a cluster a worker has not all of the chief's.
        states = list(states)
        for callback in self.callbacks:
            mine = [each for each in states if each[0] == type(callback).__name__]
            if mine:
                states.remove(mine[0])
                for attribute, value in mine[0][1].items():
                    setattr(callback, attribute, value)


def plain(callback):
    found = {}
    for name, value in vars(callback).items():
        value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
        if not name.startswith("_") and isinstance(value, PLAIN):
            found[name] = value
    return found
