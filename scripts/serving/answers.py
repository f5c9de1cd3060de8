"""Answers in the shapes of OpenAI's interface, whole or in pieces."""

import time
import uuid

LEAST = -9999.0  # JSON has no infinity; OpenAI writes this

OBJECTS = {  # kind -> (prefix of ids, object, object of a piece)
    "completions": ("cmpl", "text_completion", "text_completion"),
    "chat": ("chatcmpl", "chat.completion", "chat.completion.chunk"),
}


class Answer:
    """The answer to a request, of what the engine delivers.

    Args:
      request: see requests.py.
      model: see model.py.
      prompts: the texts that are continued, one for each n choices.
      prompt_tokens: in all of them.
    """

    def __init__(self, request, model, prompts, prompt_tokens):
        self.request = request
        self.prompts = prompts
        self.prompt_tokens = prompt_tokens
        self.generated = {}  # {choice: tokens drawn}
        self.held = {}  # {choice of a chat that has begun: white space behind what is sent}
        prefix, self.object, self.piece_object = OBJECTS[request.kind]
        self.head = {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model.name,
            "system_fingerprint": model.fingerprint or None,
        }

    def whole(self, pieces):
        """Of all pieces."""
        texts, tokens, reasons = {}, {}, {}
        for piece in pieces:
            self.count(piece)
            texts[piece.index] = texts.get(piece.index, "") + self.text(piece)
            tokens.setdefault(piece.index, []).extend(piece.tokens)
            reasons[piece.index] = piece.finish_reason
        choices = [
            self.choice(i, self.echo(i) + texts[i], tokens[i], reasons[i]) for i in sorted(texts)
        ]
        return self.head | {"object": self.object, "choices": choices, "usage": self.usage()}

    def opening(self):
        """What is sent before the first piece: whose turn it is, or the prompts that are echoed."""
        count = len(self.prompts) * self.request.n
        if self.request.kind == "chat":
            start = {"role": "assistant", "content": ""}
            return [self.chunk([self.delta(i, start)]) for i in range(count)]
        if not self.request.echo:
            return []
        return [self.chunk([self.choice(i, self.echo(i), [], None)]) for i in range(count)]

    def piece(self, piece):
        self.count(piece)
        if self.request.kind == "completions":
            choice = self.choice(piece.index, piece.text, piece.tokens, piece.finish_reason)
        else:
            text = self.text(piece)
            delta = {"content": text} if text else {}
            choice = self.delta(piece.index, delta, piece.tokens, piece.finish_reason)
        return self.chunk([choice])

    def text(self, piece):
        """What a piece adds; to a message without the white space that templates leave around it."""
        if self.request.kind != "chat":
            return piece.text
        text = self.held.get(piece.index, "") + piece.text
        if piece.index not in self.held:
            text = text.lstrip()
        said = text.rstrip()
        if text:
            self.held[piece.index] = text[len(said) :]
        return said

    def closing(self):
        """What is sent behind the last piece."""
        if not self.request.include_usage:
            return []
        return [self.chunk([]) | {"usage": self.usage()}]

    def chunk(self, choices):
        chunk = self.head | {"object": self.piece_object, "choices": choices}
        return chunk | {"usage": None} if self.request.include_usage else chunk

    def choice(self, index, text, tokens, reason):
        if self.request.kind == "chat":
            message = {"role": "assistant", "content": text, "refusal": None}
            logprobs = self.chat_logprobs(tokens)
            choice = {"index": index, "message": message}
        else:
            logprobs = self.completion_logprobs(tokens)
            choice = {"index": index, "text": text}
        return choice | {"logprobs": logprobs, "finish_reason": reason}

    def delta(self, index, delta, tokens=(), reason=None):
        return {
            "index": index,
            "delta": delta,
            "logprobs": self.chat_logprobs(tokens) if tokens else None,
            "finish_reason": reason,
        }

    def echo(self, index):
        return self.prompts[index // self.request.n] if self.request.echo else ""

    def completion_logprobs(self, tokens):
        if self.request.alternatives is None:
            return None
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [finite(token.log_probability) for token in tokens],
            "top_logprobs": [likeliest(token) for token in tokens],
            "text_offset": [token.offset for token in tokens],
        }

    def chat_logprobs(self, tokens):
        if self.request.alternatives is None:
            return None
        content = [
            logprob(token.text, token.log_probability)
            | {"top_logprobs": [logprob(*other) for other in token.alternatives]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}

    def count(self, piece):
        self.generated[piece.index] = piece.num_tokens

    def usage(self):
        generated = sum(self.generated.values())
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": generated,
            "total_tokens": self.prompt_tokens + generated,
        }


def likeliest(token):
    """{text: log-probability} of the alternatives and of the token itself."""
    pairs = [*token.alternatives, (token.text, token.log_probability)]
    return {text: finite(value) for text, value in reversed(pairs)}


def logprob(text, value):
    known = "\ufffd" not in text  # else a part of a character, whose bytes the text does not tell
    return {
        "token": text,
        "logprob": finite(value),
        "bytes": list(text.encode()) if known else None,
    }


def finite(value):
    return max(value, LEAST) if value == value else LEAST
