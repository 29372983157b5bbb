"""Learning from what was learned: frozen stages, kept features, a teacher."""
