"""Who is close to whom in the base model: centroids, cosines, predictors of leakage."""
