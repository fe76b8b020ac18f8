"""One thin script a DVC stage: read parameters, call pure functions, write outputs."""
