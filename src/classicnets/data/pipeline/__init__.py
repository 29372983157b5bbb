"""From packed images to augmented batches."""
