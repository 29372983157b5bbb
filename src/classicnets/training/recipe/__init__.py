"""The recipe: its schema, its files, its choice by the data, and the plan of a training."""
