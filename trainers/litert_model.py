"""LiteRTModel: runs a file that `litert.export` wrote. Needs NumPy and ai-edge-litert alone."""

import numpy as np

EOS = 0


class LiteRTModel:
    """A language model in a .tflite file, tokens in and tokens out.

    The state lies in buffers that every step reads and writes in turn, so that it is never
    copied.

    Args:
      path: of the file.
      num_threads: of the processor.
    """

    def __init__(self, path, num_threads=1):
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.cpu_options import CpuOptions
        from ai_edge_litert.options import Options

        options = Options(cpu_options=CpuOptions(num_threads=num_threads))
        self.model = CompiledModel.from_file(path, options=options)
        self.signatures = self.model.get_signature_list()
        details = self.model.get_input_tensor_details("prefill")
        self.prompt_length = details["tokens"]["shape"][1]
        logits = self.model.get_output_tensor_details("step")["logits"]
        self.vocabulary_size = logits["shape"][1]
        described = self.outputs("describe")
        self.model.run_by_name("describe", {}, described)
        (self.max_new_tokens,) = described["max_new_tokens"].read(1, np.int32)

    def generate(self, prompt, max_new_tokens=None, choose=np.argmax):
        """Yields the tokens after a prompt, until <eos> or until there is no more room.

        Args:
          prompt: what the model was trained to read before an answer, at least one token: <eos>
            and the text; for the answer to a question also <eos> behind it; for a model that
            reads a source the source and <eos>. Of a longer one than `prompt_length` the last
            tokens are read.
          max_new_tokens: None for as many as there is room for.
          choose: function of the logits float32 [V] to a token; the likeliest by default.

        Raises:
          ValueError: a prompt without tokens.
        """
        prompt = np.asarray(prompt, np.int32)[-self.prompt_length :]
        if not len(prompt):
            raise ValueError("a prompt has at least one token; <eos>, token 0, opens a row")
        tokens, num_tokens = (
            self.model.create_input_buffer_by_name("prefill", name)
            for name in ("tokens", "num_tokens")
        )
        tokens.write(np.pad(prompt, (0, self.prompt_length - len(prompt)))[None])
        num_tokens.write(np.array([len(prompt)], np.int32))
        given = self.outputs("prefill")
        self.model.run_by_name("prefill", {"tokens": tokens, "num_tokens": num_tokens}, given)
        state = {**self.zeros("step"), **given}
        new = self.outputs("step")
        logits = new.pop("logits")
        room = self.max_new_tokens
        for _ in range(room if max_new_tokens is None else min(room, max_new_tokens)):
            self.model.run_by_name("step", state, {"logits": logits, **new})
            token = int(choose(logits.read(self.vocabulary_size, np.float32)))
            if token == EOS:
                return
            yield token
            state, new = {**state, **new}, {name: state[name] for name in new}
            state["token"].write(np.array([[token]], np.int32))

    def outputs(self, signature):
        """A buffer for each output."""
        names = self.signatures[signature]["outputs"]
        return {name: self.model.create_output_buffer_by_name(signature, name) for name in names}

    def zeros(self, signature):
        """A buffer for each input, filled with zeros."""
        buffers = {}
        for name, details in self.model.get_input_tensor_details(signature).items():
            buffers[name] = self.model.create_input_buffer_by_name(signature, name)
            buffers[name].write(np.zeros(details["shape"], details["dtype"]))
        return buffers
