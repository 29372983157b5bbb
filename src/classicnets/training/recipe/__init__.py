"""The recipe: its schema, its choice, and the plan that it makes with the data."""
