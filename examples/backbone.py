"""Use a trunk as a backbone: print the output of each stage, and put a feature pyramid on top.

python examples/backbone.py
"""

import torch
from torchvision.ops import FeaturePyramidNetwork

import classicnets as cn

model = cn.create_model("resnet18", num_classes=10).eval()
images = torch.randn(1, 3, 96, 128)
with torch.no_grad():
    features = model.features(images)
for name, output in features.items():
    print(f"{name:6} {tuple(output.shape)}")

stages = ("conv2", "conv3", "conv4", "conv5")
pyramid = FeaturePyramidNetwork([features[name].shape[1] for name in stages], out_channels=32)
print({name: tuple(level.shape) for name, level in pyramid({name: features[name] for name in stages}).items()})
