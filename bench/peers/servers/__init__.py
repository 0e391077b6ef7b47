"""The servers themselves, each a program. They run in `.bench/`, not in the project's own environment."""
