"""The usage of an answer, estimated where the provider did not report it."""

from streamsvc.events import Usage
from streamsvc.messages import Prompt, texts_of
from streamsvc.snapshot import LongText, Standing

BYTES_PER_TOKEN = 4
"""A rough average over languages and models, in UTF-8, not a tokenizer; the result is marked as an estimate."""


def estimate(prompt: Prompt, answer: Standing) -> Usage:
    """Estimate the tokens of a prompt and of its answer.

    A delta is at least one token, so there are at least as many tokens as deltas.
    """
    input_text = LongText()
    input_text.extend(texts_of(prompt))
    reasoning = _tokens(answer.reasoning)
    return Usage(
        input_tokens=_tokens(input_text),
        output_tokens=_tokens(answer.text)
        + _tokens(answer.refusal)
        + _tokens(answer.arguments)
        + reasoning,
        reasoning_tokens=reasoning or None,
        estimated=True,
    )


def _tokens(text: LongText) -> int:
    return max(text.deltas, -(-text.size_bytes // BYTES_PER_TOKEN))
