"""What callbacks remember, so that a checkpoint can hold it: EarlyStopping's patience and the like."""

PLAIN = (bool, int, float, str, type(None))


class CallbackStates:
    """The plain attributes of callbacks that have changed since training began.

    Others are what the user chose, who may choose anew, or what JSON cannot hold, such as the
    `best_weights` of EarlyStopping: the best checkpoint has those.

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
            changed = {k: v for k, v in plain(callback).items() if k not in first or first[k] != v}
            found.append([type(callback).__name__, changed])
        return found

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
