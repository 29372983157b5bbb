"""Settings with which a training on `digits` takes a second or two."""

FAST = (
    "batch_size=256",
    "precision=fp32",
    "model.switches.depths=[1,1,1]",
    "data.val_fraction=0.3",
    "data.test_fraction=0.3",
)
