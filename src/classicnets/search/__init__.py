"""A better recipe: a learning-rate range test, and a search."""
