"""Transfer learning: frozen stages, cached features of a frozen trunk, and distillation from a teacher."""
