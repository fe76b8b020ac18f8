"""Statistics over the tables of cells; nothing here knows a model or a behaviour."""
