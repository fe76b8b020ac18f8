"""What is asked and who is asked: the catalog, benchmarks, splits, seeded orders."""
