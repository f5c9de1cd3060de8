"""Text that grows, in pieces that are never taken back."""

UNFINISHED = "\ufffd"  # stands at the end of a text while a character lacks bytes


class TextStream:
    """The pieces of one text, up to the first of some stop strings.

    What may turn out to be the beginning of a stop string, or a character that
    lacks bytes, is held back until it is known. However the text comes, the
    pieces make the same whole.

    Args:
      stop: strings; the text ends before the one that is complete first.
    """

    def __init__(self, stop=()):
        self.stop = tuple(stop)
        self.longest = max(map(len, self.stop), default=0)
        self.sent = 0  # characters

    def feed(self, text, ended=False):
        """What of `text`, all there is so far, can be sent now, and whether a stop string is met.

        Args:
          text: begins with what was fed before, but for unfinished characters at its end.
          ended: no more will come.

        Returns:
          (piece, stopped)
        """
        end = self.find_stop(text)
        stopped = end is not None
        if not stopped:
            end = len(text) if ended else self.safe_end(text)
        piece = text[self.sent : end]
        self.sent = max(self.sent, end)
        return piece, stopped

    def find_stop(self, text):
        """Where the stop string begins that is complete first; None without one."""
        found = [(text.find(stop, self.sent), len(stop)) for stop in self.stop]
        ends = [(start + length, start) for start, length in found if start >= 0]
        return min(ends)[1] if ends else None

    def safe_end(self, text):
        end = len(text.rstrip(UNFINISHED))
        for start in range(max(self.sent, end - self.longest + 1), end):
            if any(stop.startswith(text[start:end]) for stop in self.stop):
                return start
        return end
