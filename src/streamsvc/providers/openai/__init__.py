"""OpenAI's chat completions, and servers compatible with them."""
