"""What an answer has used, counted in the provider's place where that did not come to tell."""

from collections.abc import Sequence

from streamsvc.events import Reasoning, Text, Usage
from streamsvc.messages import Prompt

BYTES_PER_TOKEN = 4
"""Of UTF-8, about, over languages and models: nobody's tokenizer, and said to be an estimate."""


def estimate(prompt: Prompt, pieces: Sequence[Text | Reasoning]) -> Usage:
    """Estimate the tokens of a prompt and of the pieces of its answer.

    A delta is one token at least, so there are as many tokens as deltas, or more.
    """
    turns = [prompt.system, *(turn.content for turn in prompt.messages)]
    thought = _tokens([piece.text for piece in pieces if isinstance(piece, Reasoning)])
    answered = _tokens([piece.text for piece in pieces if isinstance(piece, Text)])
    return Usage(
        input_tokens=_tokens([turn for turn in turns if turn]),
        output_tokens=answered + thought,
        reasoning_tokens=thought or None,
        estimated=True,
    )


def _tokens(texts: Sequence[str]) -> int:
    size_bytes = sum(len(text.encode()) for text in texts)
    return max(len(texts), -(-size_bytes // BYTES_PER_TOKEN))
