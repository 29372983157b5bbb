"""Finding a better recipe: a learning-rate range test, and a search with Optuna."""
