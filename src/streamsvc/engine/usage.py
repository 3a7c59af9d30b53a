"""The tokens of an answer: before it is asked for, and estimated where the provider did not report them."""

from streamsvc.events import Usage
from streamsvc.messages import Prompt, TextPart, UserMessage, parts_of, texts_of
from streamsvc.snapshot import LongText, Standing

BYTES_PER_TOKEN = 4
"""A rough average over languages and models, in UTF-8, not a tokenizer; the result is marked as an estimate."""


DATA_TOKENS = 1000
"""What an image or a file counts as before it is asked for: providers count 85 to about 1,500 for an image."""


def reservation(prompt: Prompt, answer_tokens: int) -> int:
    """Return how many tokens an answer may take, input and output together.

    Args:
        prompt: what the model is asked.
        answer_tokens: the tokens of an answer whose prompt has no `max_tokens`.
    """
    size_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts_of(prompt))
    turns = (turn for turn in prompt.messages if isinstance(turn, UserMessage))
    parts = (part for turn in turns for part in parts_of(turn.content))
    data = sum(not isinstance(part, TextPart) for part in parts)
    output = answer_tokens if prompt.max_tokens is None else prompt.max_tokens
    return -(-size_bytes // BYTES_PER_TOKEN) + data * DATA_TOKENS + output


def total_tokens(usage: Usage) -> int:
    """Return the tokens of an answer, input and output together."""
    return usage.input_tokens + usage.output_tokens


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
