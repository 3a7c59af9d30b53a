"""What an answer has used, counted in the provider's place where that did not come to tell."""

from streamsvc.events import Usage
from streamsvc.messages import Prompt
from streamsvc.snapshot import LongText, Standing

BYTES_PER_TOKEN = 4
"""Of UTF-8, about, over languages and models: nobody's tokenizer, and said to be an estimate."""


def estimate(prompt: Prompt, said: Standing) -> Usage:
    """Estimate the tokens of a prompt and of what was said.

    A delta is one token at least, so there are as many tokens as deltas, or more.
    """
    turns = [prompt.system, *(turn.content for turn in prompt.messages)]
    asked = LongText()
    asked.extend([turn for turn in turns if turn])
    thought = _tokens(said.reasoning)
    return Usage(
        input_tokens=_tokens(asked),
        output_tokens=_tokens(said.text) + thought,
        reasoning_tokens=thought or None,
        estimated=True,
    )


def _tokens(text: LongText) -> int:
    return max(text.deltas, -(-text.size_bytes // BYTES_PER_TOKEN))
