"""From config.toml and the environment to frozen settings."""
