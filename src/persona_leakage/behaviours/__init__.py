"""What a source is taught and how a reply is scored: one module per behaviour."""
