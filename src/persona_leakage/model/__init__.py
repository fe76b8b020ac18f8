"""The language model: where it comes from, how it is loaded, what it reads, how it is scored."""
